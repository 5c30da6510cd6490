//! How far each watch has come, for whoever asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Listing, Self::Watching, Self::Failing, Self::Absent];

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

/// Why a list or a watch had to be begun again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// It ended as it should, or its connection was cut.
    Ended,
    /// The server has forgotten the version that was to be taken up (410): a list is read again.
    Expired,
    /// The server did not answer, refused, or said what cannot be.
    Failed,
}

impl Restart {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ended, Self::Expired, Self::Failed];

    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Failed => "failed",
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
    /// When the server last said anything of the kind, be it that nothing has changed (a bookmark); before that, when it was
    /// first asked.
    pub heard: Instant,
    /// How often a list or watch was begun again, in the order of [`Restart::ALL`].
    pub restarts: [u64; 3],
}

impl Watches {
    pub(crate) fn enter(&self, kind: &'static str, phase: Phase) {
        self.watch(kind, |watch| watch.phase = phase);
    }

    /// The server has said something of the kind.
    pub(super) fn heard(&self, kind: &'static str) {
        self.watch(kind, |watch| watch.heard = Instant::now());
    }

    pub(super) fn restarted(&self, kind: &'static str, why: Restart) {
        self.watch(kind, |watch| watch.restarts[why as usize] += 1);
    }

    pub(super) fn handed_on(&self, kind: &'static str, version: String) {
        self.watch(kind, |watch| watch.version = version);
    }

    fn watch(&self, kind: &'static str, change: impl FnOnce(&mut Watch)) {
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(watches.entry(kind).or_insert_with(|| Watch {
            phase: Phase::Listing,
            version: String::new(),
            heard: Instant::now(),
            restarts: [0; 3],
        }));
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
