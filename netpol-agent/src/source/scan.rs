//! Finds the manifests below a folder.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Folders below each other that are looked into: more is a loop of symbolic links.
const MAX_DEPTH: usize = 16;

/// What tells two versions of a file apart without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// Of the file itself, behind symbolic links.
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// What lies in a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Manifests, by path below the folder.
    pub(super) files: BTreeMap<String, Fingerprint>,
    /// Files and folders that are there but cannot be looked into, by path below the folder (empty: itself).
    pub(super) unreadable: BTreeMap<String, io::Error>,
    /// There is a symbolic link, hidden or not: what lies behind it changes without an event here.
    pub(super) linked: bool,
}

/// Lists the manifests in a folder and the folders below: `*.yaml`, `*.yml` and `*.json`, but nothing hidden.
/// Symbolic links are followed.
pub(super) fn list(root: &Path) -> Listing {
    let mut listing = Listing::default();
    walk(root, "", 0, &mut listing);
    listing
}

fn walk(root: &Path, below: &str, depth: usize, listing: &mut Listing) {
    let entries = match fs::read_dir(root.join(below)).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        // It was there a moment ago.
        Err(e) if e.kind() == io::ErrorKind::NotFound && depth > 0 => return,
        Err(e) => {
            listing.unreadable.insert(below.to_owned(), e);
            return;
        }
    };
    for entry in entries {
        listing.linked |= entry.file_type().map_or(true, |kind| kind.is_symlink());
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        match fs::metadata(root.join(&path)) {
            Ok(meta) if meta.is_dir() && depth < MAX_DEPTH => walk(root, &path, depth + 1, listing),
            Ok(meta) if meta.is_dir() => {
                let message = format!("more than {MAX_DEPTH} folders deep, as a loop of symbolic links is");
                listing.unreadable.insert(path, io::Error::other(message));
            }
            Ok(meta) if meta.is_file() && is_manifest(&path) => {
                listing.files.insert(path, Fingerprint::of(&meta));
            }
            // Gone since, or a symbolic link to nowhere.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if is_manifest(&path) => {
                listing.unreadable.insert(path, e);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Editors leave their temporary files under other endings.
pub(super) fn is_manifest(path: &str) -> bool {
    matches!(Path::new(path).extension().and_then(|e| e.to_str()), Some("yaml" | "yml" | "json"))
}
