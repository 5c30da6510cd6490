//! The connection tables: how full they are, who fills them, and removing what has had its time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::AsFd,
};

use aya::maps::{IterableMap, MapError};
use netpol_common::conntrack::{CtEntry, CtKey4, CtKey6, flags};

use super::{
    Object, Switches, Timeouts,
    abi::Abi,
    bpf::{self, Cursor},
    clock::Jiffies,
    judge::{Judgement, judge},
    quota::Quotas,
    reap::{Key, Reaper},
    table::{Hash, error, hash},
};
use crate::dataplane::Error;

/// Entries looked at in one slice, about.
const SLICE: usize = 4096;

/// `np_ct4` and `np_ct6`, walked through slice by slice.
pub struct Conntrack {
    v4: Walk<CtKey4>,
    v6: Walk<CtKey6>,
    timeouts: Timeouts,
    quotas: Quotas,
    switches: Switches,
    /// Entries of each pod that this walk has found so far, by interface.
    counted: BTreeMap<u32, u64>,
    /// As of the last walk.
    filled: BTreeMap<u32, u64>,
    /// Pods that had nearly used up their quota at the end of the last walk: their half-open connections have less time.
    pressed: BTreeSet<u32>,
}

/// How full a table was when it was last walked through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fill {
    /// Entries; of a translated connection there are two.
    pub entries: usize,
    /// Room for so many.
    pub capacity: usize,
}

impl Fill {
    /// Three quarters, from where on room is made sooner.
    const fn is_pressed(self) -> bool {
        self.entries * 4 >= self.capacity * 3
    }
}

/// Where the walk stands after a slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to look at.
    Underway,
    /// Both tables were walked through to their ends.
    Finished {
        /// Connections found no room since the walk before: the next one should not wait.
        short: bool,
    },
}

impl Conntrack {
    /// Takes the maps out of a loaded object.
    pub(super) fn new(
        object: &mut Object,
        timeouts: Timeouts,
        quotas: Quotas,
        switches: Switches,
    ) -> Result<Self, Error> {
        Ok(Self {
            v4: Walk::new(object)?,
            v6: Walk::new(object)?,
            timeouts,
            quotas,
            switches,
            counted: BTreeMap::new(),
            filled: BTreeMap::new(),
            pressed: BTreeSet::new(),
        })
    }

    /// Looks at the next slice of the tables, and removes the connections that have had their time.
    ///
    /// # Errors
    ///
    /// If a map cannot be read or written. The walk goes on where it was.
    pub fn slice(&mut self, now: Jiffies) -> Result<Progress, Error> {
        let look = Look { now, timeouts: &self.timeouts, pressed: &self.pressed };
        if !self.v4.done {
            self.v4.slice(&look, &mut self.counted)?;
            return Ok(Progress::Underway);
        }
        self.v6.slice(&look, &mut self.counted)?;
        if !self.v6.done {
            return Ok(Progress::Underway);
        }
        (self.v4.done, self.v6.done) = (false, false);
        self.filled = std::mem::take(&mut self.counted);
        self.quotas.settle(&self.filled)?;
        let pressed = self
            .filled
            .iter()
            .filter(|(owner, n)| n.saturating_mul(4) >= self.quotas.limit(**owner).saturating_mul(3));
        self.pressed = pressed.map(|(owner, _)| *owner).collect();
        // After the quotas: whoever finds no room from now on says so again.
        let short = self.switches.forget_shortage();
        Ok(Progress::Finished { short })
    }

    /// Entries that count against each pod's quota, by interface, as of the last walk.
    #[must_use]
    pub fn filled(&self) -> &BTreeMap<u32, u64> {
        &self.filled
    }

    /// How full `np_ct4` and `np_ct6` are.
    #[must_use]
    pub fn fill(&self) -> [Fill; 2] {
        [self.v4.fill, self.v6.fill]
    }
}

/// What a slice is looked at with.
struct Look<'a> {
    now: Jiffies,
    timeouts: &'a Timeouts,
    pressed: &'a BTreeSet<u32>,
}

struct Walk<K> {
    map: Hash<K, CtEntry>,
    reaper: Reaper<K>,
    at: Option<Cursor>,
    done: bool,
    counted: usize,
    fill: Fill,
}

impl<K: Key> Walk<K> {
    fn new(object: &mut Object) -> Result<Self, Error> {
        let (map, capacity) = hash(object, K::MAP)?;
        let reaper = Reaper::new(object)?;
        Ok(Self { map, reaper, at: None, done: false, counted: 0, fill: Fill { entries: 0, capacity } })
    }

    fn slice(&mut self, look: &Look<'_>, filled: &mut BTreeMap<u32, u64>) -> Result<(), Error> {
        let (batch, next) = bpf::read_hash::<K, CtEntry>(self.map.map().fd().as_fd(), self.at, SLICE)
            .map_err(|source| error("bpf_map_lookup_batch", K::MAP, source))?;
        let hurry = self.fill.is_pressed();
        let old = |key: &K, entry: &CtEntry| {
            let hurry = hurry || look.pressed.contains(&entry.owner());
            judge(entry, key.protocol(), look.now.age(entry.last_seen), look.timeouts, hurry)
                == Judgement::Delete
        };
        let mut connections = HashMap::new();
        for (key, entry) in &batch {
            if old(key, entry)
                && let Some((first, reap)) = self.connection(key, entry, &old)?
            {
                connections.insert(first, reap);
            }
        }
        let connections: Vec<K::Reap> = connections.into_values().collect();
        self.reaper.reap(&connections)?;
        // Last: what fails is looked at again.
        for (_, entry) in &batch {
            *filled.entry(entry.owner()).or_default() += 1;
        }
        self.counted += batch.len();
        self.at = next;
        self.done = next.is_none();
        if self.done {
            self.fill.entries = std::mem::take(&mut self.counted);
        }
        Ok(())
    }

    /// The connection that an old entry belongs to, by the key of its first entry; `None` if the rest of it is not old.
    fn connection(
        &self,
        key: &K,
        entry: &CtEntry,
        old: &impl Fn(&K, &CtEntry) -> bool,
    ) -> Result<Option<(K, K::Reap)>, Error> {
        let alone = Some((*key, K::reap((*key, entry), (*key, entry))));
        if entry.flags & (flags::FRONT | flags::BACK) == 0 {
            return Ok(alone);
        }
        // Requests touch the front entry, answers the back one: together they tell the connection's state.
        let other = key.other(entry);
        let partner = self.get(&other)?.filter(|partner| is_partner(key, entry, &other, partner));
        let back = match (entry.flags & flags::BACK != 0, &partner) {
            (true, _) => key,
            (false, Some(_)) => &other,
            (false, None) => return Ok(alone),
        };
        // The connection beside it is found by way of the back entry.
        if self.get(&back.beside())?.is_some() {
            return Ok(None);
        }
        let Some(partner) = partner else { return Ok(alone) };
        let together = entry.flags | partner.flags;
        let both_old = old(key, &CtEntry { flags: together, ..*entry })
            && old(&other, &CtEntry { flags: together, ..partner });
        // The front entry first: a request that finds none is a new connection, with a new backend.
        let (front, back) = match entry.flags & flags::FRONT != 0 {
            true => ((*key, entry), (other, &partner)),
            false => ((other, &partner), (*key, entry)),
        };
        Ok(both_old.then(|| (front.0, K::reap(front, back))))
    }

    fn get(&self, key: &K) -> Result<Option<CtEntry>, Error> {
        match self.map.get(&Abi(*key), 0) {
            Ok(Abi(entry)) => Ok(Some(entry)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(error("bpf_map_lookup_elem", K::MAP, source)),
        }
    }
}

/// Two entries are one connection's if one is a front, the other a back, and each leads to the other.
fn is_partner<K: Key>(key: &K, entry: &CtEntry, other: &K, partner: &CtEntry) -> bool {
    let kind = flags::FRONT | flags::BACK;
    (entry.flags ^ partner.flags) & kind == kind
        && bytemuck::bytes_of(&other.other(partner)) == bytemuck::bytes_of(key)
}
