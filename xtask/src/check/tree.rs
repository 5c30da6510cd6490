//! The files of the checkout as the rules see them.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context, Result};

use crate::{command, paths::Paths};

/// Path from the root, with `/`, → text. Files that are no text are left out.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// All that git tracks or would track.
    ///
    /// # Errors
    /// If git is missing, or a file cannot be read.
    pub(super) fn read(paths: &Paths) -> Result<Self> {
        let mut git = Command::new("git");
        git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&paths.root);
        let mut files = BTreeMap::new();
        for name in command::output(&mut git)?.lines() {
            let path = paths.root.join(name);
            // Deleted, not yet committed.
            if !path.exists() {
                continue;
            }
            let bytes = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.insert(name.to_owned(), text);
            }
        }
        Ok(Self { files })
    }

    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(path, _)| path.ends_with(".rs"))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect() }
    }
}
