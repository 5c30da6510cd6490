//! The connection table: how full it is, and removing what has had its time.

use std::os::fd::AsFd;

use aya::maps::{IterableMap, MapError};
use bytemuck::Pod;
use netpol_common::{
    conntrack::{CtEntry, CtKey4, CtKey6, Tuple, flags},
    names,
    net::{Address, V4, V6},
};

use super::{
    Object,
    abi::Abi,
    bpf::{self, Cursor},
    clock::Jiffies,
    judge::{Judgement, Timeouts, judge},
    table::{Hash, delete, error, hash},
};
use crate::dataplane::Error;

/// Entries looked at in one slice, about.
const SLICE: usize = 4096;

/// `np_ct4` and `np_ct6`, walked through slice by slice.
pub struct Conntrack {
    v4: Walk<CtKey4>,
    v6: Walk<CtKey6>,
    timeouts: Timeouts,
}

/// How full a table was when it was last walked through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fill {
    /// Entries; of a translated connection there are two.
    pub entries: usize,
    /// Room for so many.
    pub capacity: usize,
}

/// Where the walk stands after a slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to look at.
    Underway,
    /// Both tables were walked through to their ends.
    Finished,
}

impl Conntrack {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    ///
    /// If the object lacks one of them.
    pub fn new(object: &mut Object, timeouts: Timeouts) -> Result<Self, Error> {
        Ok(Self { v4: Walk::new(object, names::CT4)?, v6: Walk::new(object, names::CT6)?, timeouts })
    }

    /// Looks at the next slice of the tables, and removes the connections that have had their time.
    ///
    /// # Errors
    ///
    /// If a map cannot be read or written. The walk goes on where it was.
    pub fn slice(&mut self, now: Jiffies) -> Result<Progress, Error> {
        if self.v4.slice(now, &self.timeouts)? == Progress::Underway {
            return Ok(Progress::Underway);
        }
        self.v6.slice(now, &self.timeouts)
    }

    /// How full `np_ct4` and `np_ct6` are.
    #[must_use]
    pub fn fill(&self) -> [Fill; 2] {
        [self.v4.fill, self.v6.fill]
    }
}

/// The key of a connection table.
trait Key: Pod {
    fn protocol(&self) -> u8;
    /// The key of the other entry of a translated connection.
    fn other(&self, entry: &CtEntry) -> Self;
}

impl Key for CtKey4 {
    fn protocol(&self) -> u8 {
        self.proto
    }
    fn other(&self, entry: &CtEntry) -> Self {
        let tuple = self.tuple(entry.flags);
        Self::of(&Tuple { dst: V4::from_words(entry.nat_addr), dport: entry.nat_port, ..tuple })
    }
}

impl Key for CtKey6 {
    fn protocol(&self) -> u8 {
        self.proto
    }
    fn other(&self, entry: &CtEntry) -> Self {
        let tuple = self.tuple(entry.flags);
        Self::of(&Tuple { dst: V6::from_words(entry.nat_addr), dport: entry.nat_port, ..tuple })
    }
}

struct Walk<K> {
    map: Hash<K, CtEntry>,
    name: &'static str,
    at: Option<Cursor>,
    counted: usize,
    fill: Fill,
}

impl<K: Key> Walk<K> {
    fn new(object: &mut Object, name: &'static str) -> Result<Self, Error> {
        let (map, capacity) = hash(object, name)?;
        Ok(Self { map, name, at: None, counted: 0, fill: Fill { entries: 0, capacity } })
    }

    fn slice(&mut self, now: Jiffies, timeouts: &Timeouts) -> Result<Progress, Error> {
        let (batch, next) = bpf::read_hash::<K, CtEntry>(self.map.map().fd().as_fd(), self.at, SLICE)
            .map_err(|source| error("bpf_map_lookup_batch", self.name, source))?;
        self.counted += batch.len();
        self.at = next;
        let old = |key: &K, entry: &CtEntry| {
            judge(entry, key.protocol(), now.age(entry.last_seen), timeouts) == Judgement::Delete
        };
        for (key, entry) in batch {
            if old(&key, &entry) {
                self.remove(&key, &old)?;
            }
        }
        if next.is_some() {
            return Ok(Progress::Underway);
        }
        self.fill.entries = std::mem::take(&mut self.counted);
        Ok(Progress::Finished)
    }

    /// Removes a connection if it is still old: packets may have passed since it was read. What passes between this look
    /// and the removal finds no entry, and is judged as a new connection or by policy as one that is under way.
    fn remove(&mut self, key: &K, old: &impl Fn(&K, &CtEntry) -> bool) -> Result<(), Error> {
        let Some(entry) = self.get(key)?.filter(|entry| old(key, entry)) else { return Ok(()) };
        if entry.flags & (flags::FRONT | flags::BACK) == 0 {
            return delete(&mut self.map, key, self.name);
        }
        // Requests touch the front entry, answers the back one: together they tell the connection's state.
        let other = key.other(&entry);
        let Some(partner) = self.get(&other)?.filter(|partner| is_partner(key, &entry, &other, partner))
        else {
            return delete(&mut self.map, key, self.name);
        };
        let together = entry.flags | partner.flags;
        let both_old = [entry, partner].iter().all(|half| old(key, &CtEntry { flags: together, ..*half }));
        if !both_old {
            return Ok(());
        }
        // The front entry first: a request that finds none is a new connection, with a new backend.
        let (front, back) = if entry.flags & flags::FRONT != 0 { (*key, other) } else { (other, *key) };
        delete(&mut self.map, &front, self.name)?;
        delete(&mut self.map, &back, self.name)
    }

    fn get(&self, key: &K) -> Result<Option<CtEntry>, Error> {
        match self.map.get(&Abi(*key), 0) {
            Ok(Abi(entry)) => Ok(Some(entry)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(error("bpf_map_lookup_elem", self.name, source)),
        }
    }
}

/// Two entries are one connection's if one is a front, the other a back, and each leads to the other.
fn is_partner<K: Key>(key: &K, entry: &CtEntry, other: &K, partner: &CtEntry) -> bool {
    let kind = flags::FRONT | flags::BACK;
    (entry.flags ^ partner.flags) & kind == kind
        && bytemuck::bytes_of(&other.other(partner)) == bytemuck::bytes_of(key)
}
