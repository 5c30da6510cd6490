//! What all files together say, and what changes when one of them does. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{SourceEvent, file::File};
use crate::model::{Level, Manifest, ObjectRef, Problem};

/// A file that may have changed.
#[derive(Debug)]
pub(super) struct FileChange {
    /// Path below the folder; the name that problems use.
    pub(super) path: String,
    /// What is there now.
    pub(super) content: Content,
}

/// What is there instead of what was.
#[derive(Debug)]
pub(super) enum Content {
    /// The file's text.
    Text(String),
    /// The file is there, but cannot be read: why.
    Unreadable(String),
    /// The file is gone.
    Gone,
}

/// The files of a folder, by path, and the objects that are in force.
#[derive(Debug, Default)]
pub(super) struct Folder {
    files: BTreeMap<String, File>,
    /// The files in which an object stands.
    holders: BTreeMap<ObjectRef, BTreeSet<String>>,
    in_force: BTreeMap<ObjectRef, (Arc<Manifest>, String)>,
    problems: Vec<Problem>,
}

impl Folder {
    /// Takes changes in, and says what they change. `general` are problems of the folder itself.
    pub(super) fn update(&mut self, changes: Vec<FileChange>, general: &[Problem]) -> Vec<SourceEvent> {
        let mut touched = BTreeSet::new();
        for FileChange { path, content } in changes {
            self.replace(path, content, &mut touched);
        }
        let mut events: Vec<_> = touched.into_iter().filter_map(|object| self.settle(object)).collect();
        // Deletions last, so that no reader of single events sees a gap where an object has moved.
        events.sort_by_key(|event| matches!(event, SourceEvent::Delete(_)));
        let problems = self.list_problems(general);
        if problems != self.problems {
            self.problems.clone_from(&problems);
            events.push(SourceEvent::Problems(problems));
        }
        events
    }

    /// The paths of all files that are held.
    pub(super) fn paths(&self) -> impl Iterator<Item = &String> {
        self.files.keys()
    }

    fn replace(&mut self, path: String, content: Content, touched: &mut BTreeSet<ObjectRef>) {
        let before = self.files.remove(&path);
        for object in before.iter().flat_map(|file| file.objects.keys()) {
            touched.insert(object.clone());
            if let Some(holders) = self.holders.get_mut(object) {
                holders.remove(&path);
            }
        }
        let mut file = match content {
            Content::Gone => return,
            Content::Text(text) => File::parse(&path, &text),
            Content::Unreadable(why) => File::unreadable(&path, &why),
        };
        if let Some(before) = before {
            file.keep_from(before);
        }
        for object in file.objects.keys() {
            touched.insert(object.clone());
            self.holders.entry(object.clone()).or_default().insert(path.clone());
        }
        self.files.insert(path, file);
    }

    /// Compares an object with what was in force.
    fn settle(&mut self, object: ObjectRef) -> Option<SourceEvent> {
        if self.holders.get(&object).is_some_and(BTreeSet::is_empty) {
            self.holders.remove(&object);
        }
        let Some((path, manifest)) = self.holder(&object) else {
            return self.in_force.remove(&object).map(|_| SourceEvent::Delete(object));
        };
        if self.in_force.get(&object).is_some_and(|(held, origin)| *held == manifest && *origin == path) {
            return None;
        }
        self.in_force.insert(object, (manifest.clone(), path.clone()));
        Some(SourceEvent::Apply { manifest: Manifest::clone(&manifest), origin: path })
    }

    /// The file whose version of an object counts: the first that holds it as it stands, else the first that keeps it
    /// from an earlier version of itself.
    fn holder(&self, object: &ObjectRef) -> Option<(String, Arc<Manifest>)> {
        let held = self.holders.get(object)?.iter().filter_map(|path| {
            let held = self.files.get(path)?.objects.get(object)?;
            Some((held.kept, path, &held.manifest))
        });
        held.min_by_key(|(kept, path, _)| (*kept, *path))
            .map(|(_, path, manifest)| (path.clone(), manifest.clone()))
    }

    fn list_problems(&self, general: &[Problem]) -> Vec<Problem> {
        let mut problems = general.to_vec();
        let mut ignored: BTreeMap<(&str, &str), (&str, usize)> = BTreeMap::new();
        for (path, file) in &self.files {
            let kept = file.objects.values().filter(|held| held.kept).count();
            problems.extend(file.problems.iter().cloned());
            if kept > 0 {
                problems.push(Problem {
                    level: Level::Note,
                    origin: path.clone(),
                    message: format!("{kept} of its objects stay in force as they were before"),
                    ..Problem::default()
                });
            }
            for meta in &file.ignored {
                ignored.entry((&meta.api_version, &meta.kind)).or_insert((path, 0)).1 += 1;
            }
        }
        for (object, holders) in self.holders.iter().filter(|(_, holders)| holders.len() > 1) {
            let Some((winner, _)) = self.holder(object) else { continue };
            problems.extend(holders.iter().filter(|path| **path != winner).map(|path| Problem {
                level: Level::Error,
                origin: path.clone(),
                object: Some(object.clone()),
                field: String::new(),
                message: format!("stands in {winner} too; that one is used"),
            }));
        }
        problems.extend(ignored.into_iter().map(|((api_version, kind), (path, count))| Problem {
            level: Level::Note,
            origin: path.to_owned(),
            message: format!("{kind} ({api_version}) is not read by netpol: {count} ignored"),
            ..Problem::default()
        }));
        problems
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
