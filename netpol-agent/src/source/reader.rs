//! Reads what has changed in a folder since the last look.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    SourceEvent,
    folder::{Content, FileChange, Folder},
    scan::{Fingerprint, Listing, is_manifest, list},
};
use crate::model::{Level, Problem};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// A folder on disk, and what was in it at the last look.
#[derive(Debug)]
pub(super) struct Reader {
    root: PathBuf,
    seen: BTreeMap<String, Fingerprint>,
    folder: Folder,
    /// The last look at everything found only plain files and folders, all of them readable: a file that changes causes
    /// an event that names it.
    plain: bool,
}

/// Where to look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// At everything. Files of the set are read even if they look the same, for two versions can share a time stamp.
    Everything(BTreeSet<PathBuf>),
    /// At nothing but these, of which there were events.
    Only(BTreeSet<PathBuf>),
}

impl Reader {
    /// Nothing is read yet.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, seen: BTreeMap::new(), folder: Folder::default(), plain: false }
    }

    /// Looks, reads what is new, and says what that changes.
    pub(super) fn look(&mut self, scope: &Scope) -> Vec<SourceEvent> {
        match scope {
            Scope::Only(touched) => match self.changes_among(touched) {
                Some(changes) => self.folder.update(changes, &[]),
                None => self.look_at_everything(touched),
            },
            Scope::Everything(touched) => self.look_at_everything(touched),
        }
    }

    /// In proportion to `touched`, however much lies in the folder; `None` if it takes a look at everything to tell.
    fn changes_among(&mut self, touched: &BTreeSet<PathBuf>) -> Option<Vec<FileChange>> {
        if !self.plain {
            return None;
        }
        let mut changes = Vec::new();
        for full in touched {
            let path = full.strip_prefix(&self.root).ok()?.to_str()?.to_owned();
            let meta = match fs::symlink_metadata(full) {
                Ok(meta) if meta.is_file() => Some(meta),
                Err(e) if e.kind() == io::ErrorKind::NotFound && !self.was_folder(&path) => None,
                // Whole folders, links, and what cannot be looked at.
                Ok(_) | Err(_) => return None,
            };
            if !is_manifest(&path) || path.split('/').any(|part| part.starts_with('.')) {
                continue;
            }
            let content = match meta {
                Some(meta) => {
                    self.seen.insert(path.clone(), Fingerprint::of(&meta));
                    read(full)
                }
                None => Content::Gone,
            };
            if matches!(content, Content::Gone) {
                self.seen.remove(&path);
            }
            changes.push(FileChange { path, content });
        }
        Some(changes)
    }

    /// Whether files lay below a path that is not there any more.
    fn was_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        path.is_empty()
            || self.seen.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below))
    }

    fn look_at_everything(&mut self, touched: &BTreeSet<PathBuf>) -> Vec<SourceEvent> {
        let Listing { files, unreadable, linked } = list(&self.root);
        self.plain = !linked && unreadable.is_empty();
        let mut changes = Vec::new();
        for (path, fingerprint) in &files {
            if self.seen.get(path) == Some(fingerprint) && !touched.contains(&self.root.join(path)) {
                continue;
            }
            changes.push(FileChange { path: path.clone(), content: read(&self.root.join(path)) });
        }
        // What cannot be looked into is not gone.
        let hidden = |path: &str| unreadable.keys().any(|p| Path::new(path).starts_with(p));
        let gone = self.folder.paths().filter(|path| !files.contains_key(*path) && !hidden(path));
        let gone = gone.map(|path| FileChange { path: path.clone(), content: Content::Gone });
        changes.extend(gone.collect::<Vec<_>>());
        self.seen = files;
        let problems: Vec<_> = unreadable.iter().map(|(path, e)| self.problem(path, e)).collect();
        self.folder.update(changes, &problems)
    }

    fn problem(&self, path: &str, error: &io::Error) -> Problem {
        Problem {
            level: Level::Error,
            origin: if path.is_empty() { self.root.display().to_string() } else { path.to_owned() },
            message: format!("cannot be read: {error}; what was read there before stays in force"),
            ..Problem::default()
        }
    }
}

fn read(path: &Path) -> Content {
    match read_text(path) {
        Ok(text) => Content::Text(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Content::Gone,
        Err(e) => Content::Unreadable(e.to_string()),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    // Asked first, so that a large file is not read in vain; it may grow meanwhile.
    let size = file.metadata()?.len();
    let mut text = String::new();
    if size <= MAX_FILE && file.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 <= MAX_FILE {
        return Ok(text);
    }
    let message = format!("larger than {} MiB", MAX_FILE >> 20);
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Scope {
        Scope::Everything(BTreeSet::new())
    }

    fn problems(events: Vec<SourceEvent>) -> Vec<String> {
        let told = events.into_iter().filter_map(|event| match event {
            SourceEvent::Problems(problems) => Some(problems),
            _ => None,
        });
        told.flatten().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn a_file_that_is_too_large_is_named_and_its_objects_stay() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pods.yaml");
        fs::write(&path, "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}}").unwrap();
        let mut reader = Reader::new(root.path().to_owned());
        assert_eq!(reader.look(&everything()).len(), 1);
        File::options().write(true).open(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        let events = reader.look(&everything());
        assert!(!events.iter().any(|event| matches!(event, SourceEvent::Delete(_))), "{events:?}");
        let problems = problems(events);
        assert!(problems[0].starts_with("pods.yaml: cannot be read: larger than 64 MiB"), "{problems:?}");
    }

    #[test]
    fn folders_that_are_too_deep_are_named() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
        let problems = problems(Reader::new(root.path().to_owned()).look(&everything()));
        assert!(problems[0].contains("loop/loop: cannot be read: more than 16 folders deep"), "{problems:?}");
    }
}
