//! What the kernel's events say of a folder, from the watcher's thread to the task that reads.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::reader::Scope;

/// Files that were renamed into place, or written and closed, are whole. What comes this close together is read at once.
const TOGETHER: Duration = Duration::from_millis(1);
/// But none of them waits longer than this for others.
const TOGETHER_MOST: Duration = Duration::from_millis(20);
/// A file that somebody has begun to write is read when it was left alone for this long, or closed.
const QUIET: Duration = Duration::from_millis(30);
/// But at the latest this long after the first event.
const QUIET_MOST: Duration = Duration::from_millis(300);

/// The events since the last look.
#[derive(Debug, Default)]
pub(super) struct Signal {
    seen: Mutex<Seen>,
    event: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    touched: BTreeSet<PathBuf>,
    /// Those that somebody has begun to write and not closed yet.
    unfinished: BTreeSet<PathBuf>,
    /// Events were lost: only a look at everything tells.
    lost: bool,
}

impl Signal {
    /// Where to look; `told` says that nothing but events asks for it.
    pub(super) fn take(&self, told: bool) -> Scope {
        let Seen { touched, unfinished, lost } = &mut *self.seen();
        // Whoever is still writing will be heard of again.
        unfinished.clear();
        let everything = std::mem::take(lost) || !told;
        let touched = std::mem::take(touched);
        if everything { Scope::Everything(touched) } else { Scope::Only(touched) }
    }

    pub(super) fn add(&self, event: Event) {
        if event.need_rescan() {
            return self.lost();
        }
        let finished = match event.kind {
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => false,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            // Reading a file causes events too.
            EventKind::Access(_) => return,
            EventKind::Any | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
        };
        let mut seen = self.seen();
        for path in event.paths {
            if finished {
                seen.unfinished.remove(&path);
            } else {
                seen.unfinished.insert(path.clone());
            }
            seen.touched.insert(path);
        }
        drop(seen);
        self.event.notify_one();
    }

    /// Something has happened that no event tells of.
    pub(super) fn lost(&self) {
        self.seen().lost = true;
        self.event.notify_one();
    }

    /// Returns when there was an event, and then none for a while: a short one if every file that was touched is whole.
    pub(super) async fn settled(&self) {
        self.event.notified().await;
        let first = Instant::now();
        loop {
            let (quiet, most) = self.patience();
            let latest = first + most;
            let patience = latest.min(Instant::now() + quiet);
            if timeout_at(patience, self.event.notified()).await.is_err() || Instant::now() >= latest {
                return;
            }
        }
    }

    /// How long it must be quiet, and how long that is waited for.
    fn patience(&self) -> (Duration, Duration) {
        if self.seen().unfinished.is_empty() { (TOGETHER, TOGETHER_MOST) } else { (QUIET, QUIET_MOST) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RenameMode};

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event::new(kind).add_path("/m/a.yaml".into())
    }

    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const RENAMED: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));

    fn patience(events: &[EventKind]) -> Duration {
        let signal = Signal::default();
        for kind in events {
            signal.add(event(*kind));
        }
        signal.patience().0
    }

    #[test]
    fn only_a_file_that_is_being_written_is_waited_for() {
        assert_eq!(patience(&[RENAMED]), TOGETHER);
        assert_eq!(patience(&[CREATED, WRITTEN, CLOSED]), TOGETHER);
        assert_eq!(patience(&[CREATED, WRITTEN, RENAMED]), TOGETHER);
        assert_eq!(patience(&[CREATED, WRITTEN]), QUIET);
        assert_eq!(patience(&[RENAMED, WRITTEN]), QUIET);
    }

    #[test]
    fn where_to_look_is_known_only_from_events_none_of_which_is_lost() {
        let signal = Signal::default();
        signal.add(event(RENAMED));
        let touched = BTreeSet::from(["/m/a.yaml".into()]);
        assert_eq!(signal.take(true), Scope::Only(touched.clone()));
        signal.add(event(RENAMED));
        assert_eq!(signal.take(false), Scope::Everything(touched));
        signal.lost();
        assert_eq!(signal.take(true), Scope::Everything(BTreeSet::new()));
        assert_eq!(signal.take(true), Scope::Only(BTreeSet::new()));
    }
}
