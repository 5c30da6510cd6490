//! Reads what has changed in a folder since the last look.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    SourceEvent,
    folder::{Content, FileChange, Folder},
    scan::{Fingerprint, Listing, list},
};
use crate::model::{Level, Problem};

/// A folder on disk, and what was in it at the last look.
#[derive(Debug)]
pub(super) struct Reader {
    root: PathBuf,
    seen: BTreeMap<String, Fingerprint>,
    folder: Folder,
}

impl Reader {
    /// Nothing is read yet.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, seen: BTreeMap::new(), folder: Folder::default() }
    }

    /// Looks at everything, reads what is new, and says what that changes. Files of `touched` are read even if they look
    /// the same, for two versions can share a time stamp.
    pub(super) fn look(&mut self, touched: &BTreeSet<PathBuf>) -> Vec<SourceEvent> {
        let Listing { files, unreadable } = list(&self.root);
        let mut changes = Vec::new();
        for (path, fingerprint) in &files {
            if self.seen.get(path) == Some(fingerprint) && !touched.contains(&self.root.join(path)) {
                continue;
            }
            let content = match fs::read_to_string(self.root.join(path)) {
                Ok(text) => Content::Text(text),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Content::Gone,
                Err(e) => Content::Unreadable(e.to_string()),
            };
            changes.push(FileChange { path: path.clone(), content });
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
