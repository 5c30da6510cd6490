//! The last records, and those who follow.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};

use super::record::{Filter, FlowRecord};

/// Records that a follower may lag behind before it loses some.
const LAG: usize = 4096;

/// Told whether somebody listens to forwarded connections.
type Listen = Box<dyn Fn(bool) + Send + Sync>;

/// Keeps the last records in memory and hands new ones to followers. Nobody who is slow holds up anybody else.
pub struct FlowStore {
    capacity: usize,
    recent: Mutex<VecDeque<Arc<FlowRecord>>>,
    sender: broadcast::Sender<Arc<FlowRecord>>,
    listeners: Mutex<usize>,
    listen: Listen,
    seen: AtomicU64,
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
}

/// What a follower gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Followed {
    /// A record.
    Record(Arc<FlowRecord>),
    /// It was too slow for so many records, of any kind.
    Lost(u64),
}

/// Receives records as they come.
pub struct Follower {
    store: Arc<FlowStore>,
    filter: Filter,
    receiver: broadcast::Receiver<Arc<FlowRecord>>,
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
            lost: AtomicU64::new(0),
        })
    }

    /// Takes a record in.
    pub fn add(&self, record: FlowRecord) {
        let record = Arc::new(record);
        self.seen.fetch_add(1, Ordering::Relaxed);
        // Kept and sent under one lock, so that a new follower misses none and gets none twice.
        let mut recent = lock(&self.recent);
        recent.push_back(record.clone());
        while recent.len() > self.capacity {
            recent.pop_front();
        }
        if self.sender.send(record).is_err() {
            tracing::trace!("nobody follows the flow records");
        }
    }

    /// The last `last` records that the filter wants, oldest first.
    #[must_use]
    pub fn recent(&self, filter: &Filter, last: usize) -> Vec<Arc<FlowRecord>> {
        select(&lock(&self.recent), filter, last).into()
    }

    /// Follows from now on, after the last `last` records that the filter wants.
    #[must_use]
    pub fn follow(self: &Arc<Self>, filter: Filter, last: usize) -> Follower {
        let (receiver, backlog) = {
            let recent = lock(&self.recent);
            (self.sender.subscribe(), select(&recent, &filter, last))
        };
        if filter.wants_forwarded() {
            let mut listeners = lock(&self.listeners);
            *listeners += 1;
            if *listeners == 1 {
                (self.listen)(true);
            }
        }
        Follower { store: self.clone(), filter, receiver, backlog }
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
        }
    }
}

impl Follower {
    /// The next record that is wanted; `None` when the store is gone.
    pub async fn next(&mut self) -> Option<Followed> {
        if let Some(record) = self.backlog.pop_front() {
            return Some(Followed::Record(record));
        }
        loop {
            match self.receiver.recv().await {
                Ok(record) if self.filter.wants(&record) => return Some(Followed::Record(record)),
                Ok(_) => {}
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
        if self.filter.wants_forwarded() {
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
        f.debug_struct("Follower").field("filter", &self.filter).finish_non_exhaustive()
    }
}

fn select(recent: &VecDeque<Arc<FlowRecord>>, filter: &Filter, last: usize) -> VecDeque<Arc<FlowRecord>> {
    let mut wanted: VecDeque<_> =
        recent.iter().rev().filter(|record| filter.wants(record)).take(last).cloned().collect();
    wanted.make_contiguous().reverse();
    wanted
}

/// A panic elsewhere leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
