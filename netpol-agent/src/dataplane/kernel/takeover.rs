//! Connections that pods had before netpol: entered into the connection tables before the programs are attached, so that
//! what policy allows goes on. See `docs/adr/0035-connections-from-before.md`.

use std::{collections::BTreeMap, path::Path};

use aya::maps::{Array, HashMap, IterableMap, Map, MapData, MapError};
use bytemuck::Pod;
use netpol_common::{config::Config, conntrack::CtEntry, names};

use super::{
    abi::Abi,
    bpf,
    connections::ConnectionKey,
    inherit::{Ends, Inherited, Moment},
    netlink::NetlinkError,
    nf_conntrack,
    object::pin_path,
    table::{self, Hash, error, room},
};
use crate::dataplane::Error;

/// Rows counted with one system call.
const BATCH: usize = 4096;

/// Connections cannot be taken over; their packets are judged as those of connections that are under way.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeoverError {
    /// The node's connections cannot be read.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The connection tables cannot be read or written.
    #[error(transparent)]
    Map(#[from] Error),
}

/// What became of the node's connections.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Taken {
    /// Entries made, by the interface of the pod whose connections they are.
    pub(super) entries: BTreeMap<u32, usize>,
    /// Entries that found no room.
    pub(super) left: usize,
}

/// When, and how much room there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Start {
    /// Low bits of the kernel's jiffies.
    pub(super) now: u32,
    /// Entries that one pod may fill.
    pub(super) quota: u32,
}

/// Enters the connections of every newcomer among `ends`: no more than half of what is free, and half of what a pod may
/// fill, so that new connections find room.
pub(super) fn take_over(
    pins: &Path,
    ends: &Ends,
    Start { now, quota }: Start,
) -> Result<Taken, TakeoverError> {
    let epoch = epoch(pins)?;
    let (mut v4, mut v6) = (Table::open(pins, names::CT4)?, Table::open(pins, names::CT6)?);
    let mut taken = Taken::default();
    let mut filled: BTreeMap<u32, u32> = BTreeMap::new();
    let mut failure = None;
    nf_conntrack::walk(|known| {
        if failure.is_some() {
            return;
        }
        for Inherited { key, entry, ifindex } in ends.inherit(&known, Moment { now, epoch }) {
            let of_owner = filled.entry(entry.owner()).or_default();
            let entered = match key {
                _ if *of_owner >= quota / 2 => Ok(Entered::NoRoom),
                ConnectionKey::V4(key) => v4.enter(&key, &entry),
                ConnectionKey::V6(key) => v6.enter(&key, &entry),
            };
            match entered {
                Ok(Entered::Yes) => {
                    *of_owner += 1;
                    *taken.entries.entry(ifindex).or_default() += 1;
                }
                Ok(Entered::Known) => {}
                Ok(Entered::NoRoom) => taken.left += 1,
                Err(error) => failure = Some(error),
            }
        }
    })?;
    failure.map_or(Ok(taken), |error| Err(error.into()))
}

/// What became of an entry.
enum Entered {
    Yes,
    /// The table has one, which knows better.
    Known,
    NoRoom,
}

struct Table<K> {
    map: Hash<K, CtEntry>,
    name: &'static str,
    /// How many more entries may be made.
    room: usize,
}

impl<K: Pod> Table<K> {
    fn open(pins: &Path, name: &'static str) -> Result<Self, Error> {
        let map =
            HashMap::try_from(pinned(pins, name)?).map_err(|source: MapError| error("open", name, source))?;
        let capacity = room(map.map(), name)? as usize;
        let mut entries = 0;
        let mut at = None;
        loop {
            let (batch, next) = bpf::read_hash::<K, CtEntry>(map.map().fd(), at, BATCH)
                .map_err(|source| error("bpf_map_lookup_batch", name, source))?;
            entries += batch.len();
            at = next;
            if at.is_none() {
                break;
            }
        }
        Ok(Self { map, name, room: capacity.saturating_sub(entries) / 2 })
    }

    fn enter(&mut self, key: &K, entry: &CtEntry) -> Result<Entered, Error> {
        if self.room == 0 {
            return Ok(Entered::NoRoom);
        }
        if !table::add(&mut self.map, key, entry, self.name)? {
            return Ok(Entered::Known);
        }
        self.room -= 1;
        Ok(Entered::Yes)
    }
}

/// The epoch of now.
pub(super) fn epoch(pins: &Path) -> Result<u32, Error> {
    let failed = |source: MapError| error("bpf_map_lookup_elem", names::CONFIG, source);
    let map: Array<MapData, Abi<Config>> = Array::try_from(pinned(pins, names::CONFIG)?).map_err(failed)?;
    Ok(map.get(&0, 0).map_err(failed)?.0.epoch)
}

fn pinned(pins: &Path, name: &'static str) -> Result<Map, Error> {
    MapData::from_pin(pin_path(pins, name))
        .and_then(Map::from_map_data)
        .map_err(|source| error("BPF_OBJ_GET", name, source))
}
