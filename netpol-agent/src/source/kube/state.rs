//! How far each watch has come, for whoever asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What a watch is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Reads a list.
    Listing,
    /// Gets changes as they happen.
    Watching,
    /// The server does not answer, or refuses.
    Failing,
    /// The server does not have the kind.
    Absent,
}

impl Phase {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Watching => "watching",
            Self::Failing => "failing",
            Self::Absent => "absent",
        }
    }
}

/// The watches of a source, by kind. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Mutex<BTreeMap<&'static str, Watch>>>);

/// One watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// What it is at.
    pub phase: Phase,
    /// The `resourceVersion` up to which the changes of the kind have been handed on; empty before the first list.
    pub version: String,
}

impl Watches {
    pub(super) fn enter(&self, kind: &'static str, phase: Phase) {
        self.watch(kind, |watch| watch.phase = phase);
    }

    pub(super) fn handed_on(&self, kind: &'static str, version: String) {
        self.watch(kind, |watch| watch.version = version);
    }

    fn watch(&self, kind: &'static str, change: impl FnOnce(&mut Watch)) {
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(watches.entry(kind).or_insert(Watch { phase: Phase::Listing, version: String::new() }));
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
