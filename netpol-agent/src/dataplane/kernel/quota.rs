//! How many entries of the connection tables each pod may fill.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use netpol_common::{conntrack::OUTSIDE, names};

use super::{
    Object,
    table::{Hash, contains, delete, hash, put, read},
};
use crate::dataplane::Error;

/// The rows of `np_quota`: who adds and removes endpoints makes and removes them, who counts entries sets them right.
#[derive(Clone)]
pub(super) struct Quotas {
    map: Arc<Mutex<Hash<u32, u64>>>,
    limit: u64,
    outside: u64,
}

impl Quotas {
    /// Takes the map out of a loaded object. No pod has a limit so far.
    pub(super) fn new(object: &mut Object) -> Result<Self, Error> {
        Ok(Self {
            map: Arc::new(Mutex::new(hash(object, names::QUOTA)?.0)),
            limit: i64::MAX as u64,
            outside: i64::MAX as u64,
        })
    }

    /// From now on clients outside may fill `entries`, all together, with what goes to no pod of this node.
    pub(super) fn limit_outside(&mut self, entries: u32) -> Result<(), Error> {
        self.outside = entries.into();
        put(&mut self.map(), &OUTSIDE, &self.outside, names::QUOTA)
    }

    /// From now on each pod may fill `entries` (a translated connection fills two).
    pub(super) fn set_limit(&mut self, entries: u32) {
        self.limit = entries.into();
    }

    /// Entries that may be filled by one owner: [`OUTSIDE`], or a pod.
    pub(super) fn limit(&self, owner: u32) -> u64 {
        if owner == OUTSIDE { self.outside } else { self.limit }
    }

    /// A pod that has filled none yet, unless it is known already.
    pub(super) fn open(&self, ifindex: u32) -> Result<(), Error> {
        let mut map = self.map();
        if contains(&map, &ifindex, names::QUOTA)? {
            return Ok(());
        }
        put(&mut map, &ifindex, &self.limit, names::QUOTA)
    }

    /// A pod that has gone.
    pub(super) fn close(&self, ifindex: u32) -> Result<(), Error> {
        delete(&mut self.map(), &ifindex, names::QUOTA)
    }

    /// Sets every row right by what each pod has filled. What packets have counted since then is forgotten until the next
    /// time.
    pub(super) fn settle(&self, filled: &BTreeMap<u32, u64>) -> Result<(), Error> {
        let mut map = self.map();
        for (ifindex, before) in read(&map, names::QUOTA, |ifindex| ifindex)? {
            // May be negative: a limit that was lowered.
            let left = self.limit(ifindex).wrapping_sub(filled.get(&ifindex).copied().unwrap_or(0));
            if left != before {
                put(&mut map, &ifindex, &left, names::QUOTA)?;
            }
        }
        Ok(())
    }

    fn map(&self) -> MutexGuard<'_, Hash<u32, u64>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
