//! The last records, and those who follow.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::{
        self,
        error::{RecvError, TryRecvError},
    },
    time::sleep,
};

use super::{filter::Filter, record::FlowRecord};

/// Records that a follower may lag behind before it loses some.
const LAG: usize = 4096;
/// From one look at how far followers lag to the next.
const LOOK: Duration = Duration::from_millis(2);
/// One that takes nothing for so long is not waited for.
const STUCK: Duration = Duration::from_millis(50);

/// Which records somebody wants.
pub trait Wanted: Send + Sync + 'static {
    /// Whether a record is wanted.
    fn wants(&self, record: &FlowRecord) -> bool;
    /// Whether forwarded connections may be wanted, which the programs report on demand only.
    fn wants_forwarded(&self) -> bool;
}

impl Wanted for Filter {
    fn wants(&self, record: &FlowRecord) -> bool {
        Self::wants(self, record)
    }
    fn wants_forwarded(&self) -> bool {
        Self::wants_forwarded(self)
    }
}

/// What followers are sent.
#[derive(Clone)]
enum Sent {
    Record(Arc<FlowRecord>),
    Missed(u64),
}

/// Told whether somebody listens to forwarded connections.
type Listen = Box<dyn Fn(bool) + Send + Sync>;

/// Keeps the last records in memory and hands new ones to followers. Nobody who is slow holds up anybody else.
pub struct FlowStore {
    capacity: usize,
    recent: Mutex<VecDeque<Arc<FlowRecord>>>,
    sender: broadcast::Sender<Sent>,
    listeners: Mutex<usize>,
    listen: Listen,
    seen: AtomicU64,
    missed: AtomicU64,
    lost: AtomicU64,
}

/// How a store is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StoreCounts {
    /// Records that came in since the start.
    pub seen: u64,
    /// Records that are kept.
    pub kept: usize,
    /// Records that can be kept.
    pub capacity: usize,
    /// Followers now.
    pub followers: usize,
    /// Records that followers were too slow for, since the start.
    pub lost: u64,
    /// Records that the agent was too slow for, since the start: the kernel's rings were full.
    #[serde(default)]
    pub missed: u64,
}

/// What a follower gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Followed {
    /// A record.
    Record(Arc<FlowRecord>),
    /// It was too slow for so many records, of any kind.
    Lost(u64),
    /// The agent was too slow for so many, of any kind: the kernel's rings were full.
    Missed(u64),
}

/// Receives records as they come.
pub struct Follower {
    store: Arc<FlowStore>,
    wanted: Box<dyn Wanted>,
    receiver: broadcast::Receiver<Sent>,
    /// Records that were kept when it began and that it has not had yet.
    backlog: VecDeque<Arc<FlowRecord>>,
}

impl FlowStore {
    /// Keeps the last `capacity` records. `listen` is called with `true` when the first follower comes that wants
    /// forwarded connections, and with `false` when the last one has gone.
    #[must_use]
    pub fn new(capacity: usize, listen: impl Fn(bool) + Send + Sync + 'static) -> Arc<Self> {
        let (sender, _) = broadcast::channel(LAG);
        Arc::new(Self {
            capacity,
            recent: Mutex::default(),
            sender,
            listeners: Mutex::new(0),
            listen: Box::new(listen),
            seen: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    /// Takes a record in.
    pub fn add(&self, record: impl Into<Arc<FlowRecord>>) {
        let record = record.into();
        self.seen.fetch_add(1, Ordering::Relaxed);
        // Kept and sent under one lock, so that a new follower misses none and gets none twice.
        let mut recent = lock(&self.recent);
        recent.push_back(record.clone());
        while recent.len() > self.capacity {
            recent.pop_front();
        }
        if self.sender.send(Sent::Record(record)).is_err() {
            tracing::trace!("nobody follows the flow records");
        }
    }

    /// For somebody who has many records to add: waits until no follower lags by more than half of what it may; says whether that is
    /// so. Waits not beyond `deadline`, and not for one that takes nothing: whoever is slow holds up nobody for long.
    pub async fn catch_up(&self, deadline: Instant) -> bool {
        let (mut least, mut moved) = (usize::MAX, Instant::now());
        loop {
            let (lag, now) = (self.sender.len(), Instant::now());
            if lag <= LAG / 2 {
                return true;
            }
            if lag < least {
                (least, moved) = (lag, now);
            }
            if now >= deadline || now.duration_since(moved) >= STUCK {
                return false;
            }
            sleep(LOOK).await;
        }
    }

    /// Takes note of records that the kernel could not hand over.
    pub fn miss(&self, count: u64) {
        self.missed.fetch_add(count, Ordering::Relaxed);
        if self.sender.send(Sent::Missed(count)).is_err() {
            tracing::trace!("nobody follows the flow records");
        }
    }

    /// The last `last` records that are wanted, oldest first.
    #[must_use]
    pub fn recent(&self, wanted: &dyn Wanted, last: usize) -> Vec<Arc<FlowRecord>> {
        select(&lock(&self.recent), wanted, last).into()
    }

    /// The first `count` of the kept records that are wanted, oldest first.
    #[must_use]
    pub fn earliest(&self, wanted: &dyn Wanted, count: usize) -> Vec<Arc<FlowRecord>> {
        let recent = lock(&self.recent);
        recent.iter().filter(|record| wanted.wants(record)).take(count).cloned().collect()
    }

    /// Follows from now on, after the last `last` records that are wanted.
    #[must_use]
    pub fn follow(self: &Arc<Self>, wanted: impl Wanted, last: usize) -> Follower {
        let wanted = Box::new(wanted);
        let (receiver, backlog) = {
            let recent = lock(&self.recent);
            (self.sender.subscribe(), select(&recent, &*wanted, last))
        };
        if wanted.wants_forwarded() {
            let mut listeners = lock(&self.listeners);
            *listeners += 1;
            if *listeners == 1 {
                (self.listen)(true);
            }
        }
        Follower { store: self.clone(), wanted, receiver, backlog }
    }

    /// How it is doing.
    #[must_use]
    pub fn counts(&self) -> StoreCounts {
        StoreCounts {
            seen: self.seen.load(Ordering::Relaxed),
            kept: lock(&self.recent).len(),
            capacity: self.capacity,
            followers: self.sender.receiver_count(),
            lost: self.lost.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
        }
    }
}

impl Follower {
    /// The next record that is wanted and here already.
    pub fn ready(&mut self) -> Option<Followed> {
        if let Some(record) = self.backlog.pop_front() {
            return Some(Followed::Record(record));
        }
        loop {
            return match self.receiver.try_recv() {
                Ok(Sent::Record(record)) if !self.wanted.wants(&record) => continue,
                Ok(Sent::Record(record)) => Some(Followed::Record(record)),
                Ok(Sent::Missed(count)) => Some(Followed::Missed(count)),
                Err(TryRecvError::Lagged(count)) => {
                    self.store.lost.fetch_add(count, Ordering::Relaxed);
                    Some(Followed::Lost(count))
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
            };
        }
    }

    /// The next record that is wanted; `None` when the store is gone.
    pub async fn next(&mut self) -> Option<Followed> {
        if let Some(record) = self.backlog.pop_front() {
            return Some(Followed::Record(record));
        }
        loop {
            match self.receiver.recv().await {
                Ok(Sent::Record(record)) if self.wanted.wants(&record) => {
                    return Some(Followed::Record(record));
                }
                Ok(Sent::Record(_)) => {}
                Ok(Sent::Missed(count)) => return Some(Followed::Missed(count)),
                Err(RecvError::Lagged(count)) => {
                    self.store.lost.fetch_add(count, Ordering::Relaxed);
                    return Some(Followed::Lost(count));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.wanted.wants_forwarded() {
            let mut listeners = lock(&self.store.listeners);
            *listeners -= 1;
            if *listeners == 0 {
                (self.store.listen)(false);
            }
        }
    }
}

impl fmt::Debug for FlowStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowStore").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("backlog", &self.backlog.len()).finish_non_exhaustive()
    }
}

fn select(recent: &VecDeque<Arc<FlowRecord>>, wanted: &dyn Wanted, last: usize) -> VecDeque<Arc<FlowRecord>> {
    let newest = recent.iter().rev().filter(|record| wanted.wants(record));
    let mut newest: VecDeque<_> = newest.take(last).cloned().collect();
    newest.make_contiguous().reverse();
    newest
}

/// A panic elsewhere leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
