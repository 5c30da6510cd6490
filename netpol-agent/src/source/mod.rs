//! Where Kubernetes objects come from. A source turns whatever it reads into [`SourceEvent`]s.

mod closed_policy;
mod dir;
mod document;
mod feed;
mod file;
mod folder;
mod kind;
mod kube;
mod read_object;
mod reader;
mod scan;
mod signal;
mod unknown_field;

pub use dir::{DirSource, Error as DirError, Rescan};
pub use feed::{Error, Feed};
pub use kube::{
    Error as KubeError, KUBERNETES, KubeOptions, KubeSource, Phase, Place, Restart, Watch, Watches, place_of,
};

use crate::model::{Manifest, ObjectRef, Problem};

/// What a source has to tell. Events travel in batches (`Vec<SourceEvent>`): a batch is one consistent change, to be
/// applied as a whole before anything is compiled.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceEvent {
    /// The object is there, or has changed. Replaces what had the same kind, namespace and name.
    Apply {
        /// The object.
        manifest: Manifest,
        /// Where it came from, as [`Problem::origin`] names it.
        origin: String,
    },
    /// The object is gone.
    Delete(ObjectRef),
    /// Everything that is wrong with the source now. Replaces the list before.
    Problems(Vec<Problem>),
    /// Everything that the source holds has been delivered once. Sent exactly once.
    Synced,
}

/// What stands in one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The objects that netpol reads, by name; of two with one name the first.
    pub manifests: Vec<Manifest>,
    /// What is wrong with them and with the rest.
    pub problems: Vec<Problem>,
}

/// Reads a text as the file called `path` of a folder is read: JSON if the name ends so, else YAML. No I/O.
#[must_use]
pub fn read(path: &str, text: &str) -> Contents {
    let file::File { objects, problems, .. } = file::File::parse(path, text);
    let manifests = objects.into_values().map(|held| Manifest::clone(&held.manifest)).collect();
    Contents { manifests, problems }
}

/// The objects of a YAML text, for tests.
#[cfg(test)]
pub(crate) fn manifests(yaml: &str) -> Vec<Manifest> {
    let Contents { manifests, problems } = read("test.yaml", yaml);
    assert_eq!(problems, []);
    manifests
}
