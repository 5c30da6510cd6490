//! The connection tables: how full they are, who fills them, and removing what has had its time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::AsFd,
};

use aya::maps::{IterableMap, MapError};
use netpol_common::{
    config,
    conntrack::{CtEntry, CtKey4, CtKey6, flags},
};

use super::{
    Object, Switches, Timeouts,
    abi::Abi,
    bpf::{self, Cursor},
    clock::Jiffies,
    judge::{Judgement, judge},
    lives::{self, Life, Walks},
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
    walks: Walks,
    /// What there is to tell of connections since it was asked last.
    lives: Vec<Life>,
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
            walks: Walks::default(),
            lives: Vec::new(),
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
        if self.v4.is_at_its_beginning() {
            self.walks.begin(now);
        }
        let walks = self.switches.are_on(config::flags::FLOW_EVENTS).then_some(&self.walks);
        let look = Look { now, timeouts: &self.timeouts, pressed: &self.pressed, walks };
        let found = &mut Found { filled: &mut self.counted, lives: &mut self.lives };
        if !self.v4.done {
            self.v4.slice(&look, found)?;
            return Ok(Progress::Underway);
        }
        self.v6.slice(&look, found)?;
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

    /// What there is to tell of connections since the last call; nothing while nobody listens.
    pub fn take_lives(&mut self) -> Vec<Life> {
        std::mem::take(&mut self.lives)
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
    /// `None`: nobody listens.
    walks: Option<&'a Walks>,
}

/// What comes of a slice.
struct Found<'a> {
    filled: &'a mut BTreeMap<u32, u64>,
    lives: &'a mut Vec<Life>,
}

/// A connection that has had its time.
struct Old<K: Key> {
    reap: K::Reap,
    /// Its first entry, with what both have counted.
    entry: CtEntry,
    entries: usize,
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

    fn is_at_its_beginning(&self) -> bool {
        self.at.is_none() && !self.done
    }

    fn slice(&mut self, look: &Look<'_>, found: &mut Found<'_>) -> Result<(), Error> {
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
                && let Some((first, connection)) = self.connection(key, entry, &old)?
            {
                connections.insert(first, connection);
            }
        }
        let rows: Vec<K::Reap> = connections.values().map(|old| old.reap).collect();
        let gone = self.reaper.reap(&rows)?;
        if let Some(walks) = look.walks {
            let all = gone == connections.values().map(|old| old.entries).sum::<usize>();
            for (first, old) in &connections {
                // A back entry without its front one was told of when that one went.
                if old.entry.flags & flags::BACK == 0 && (all || self.get(first)?.is_none()) {
                    found.lives.push(Life { key: first.connection(), entry: old.entry, ended: true });
                }
            }
            for (key, entry) in &batch {
                if walks.beats(entry) && !connections.contains_key(key) {
                    found.lives.push(self.life(key, entry)?);
                }
            }
        }
        // Last: what fails is looked at again.
        for (_, entry) in &batch {
            *found.filled.entry(entry.owner()).or_default() += 1;
        }
        self.counted += batch.len();
        self.at = next;
        self.done = next.is_none();
        if self.done {
            self.fill.entries = std::mem::take(&mut self.counted);
        }
        Ok(())
    }

    /// A connection that goes on, by its only entry or its front one.
    fn life(&self, key: &K, entry: &CtEntry) -> Result<Life, Error> {
        let other = key.other(entry);
        let partner = match entry.flags & flags::FRONT {
            0 => None,
            _ => self.get(&other)?.filter(|partner| is_partner(key, entry, &other, partner)),
        };
        let entry = partner.map_or(*entry, |partner| lives::together(entry, &partner));
        Ok(Life { key: key.connection(), entry, ended: false })
    }

    /// The connection that an old entry belongs to, by the key of its first entry; `None` if the rest of it is not old.
    fn connection(
        &self,
        key: &K,
        entry: &CtEntry,
        old: &impl Fn(&K, &CtEntry) -> bool,
    ) -> Result<Option<(K, Old<K>)>, Error> {
        let alone =
            || Some((*key, Old { reap: K::reap((*key, entry), (*key, entry)), entry: *entry, entries: 1 }));
        if entry.flags & (flags::FRONT | flags::BACK) == 0 {
            return Ok(alone());
        }
        // Requests touch the front entry, answers the back one: together they tell the connection's state.
        let other = key.other(entry);
        let partner = self.get(&other)?.filter(|partner| is_partner(key, entry, &other, partner));
        let back = match (entry.flags & flags::BACK != 0, &partner) {
            (true, _) => key,
            (false, Some(_)) => &other,
            (false, None) => return Ok(alone()),
        };
        // The connection beside it is found by way of the back entry.
        if self.get(&back.beside())?.is_some() {
            return Ok(None);
        }
        let Some(partner) = partner else { return Ok(alone()) };
        let together = entry.flags | partner.flags;
        let both_old = old(key, &CtEntry { flags: together, ..*entry })
            && old(&other, &CtEntry { flags: together, ..partner });
        // The front entry first: a request that finds none is a new connection, with a new backend.
        let (front, back) = match entry.flags & flags::FRONT != 0 {
            true => ((*key, entry), (other, &partner)),
            false => ((other, &partner), (*key, entry)),
        };
        let connection =
            || Old { reap: K::reap(front, back), entry: lives::together(front.1, back.1), entries: 2 };
        Ok(both_old.then(|| (front.0, connection())))
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
