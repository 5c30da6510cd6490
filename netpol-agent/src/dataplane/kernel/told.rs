//! Drops that made no event, because the agent had been told of one like them, or of too many of the same pod.

use std::os::fd::AsFd;

use aya::maps::{IterableMap, MapData};
use bytemuck::Pod;
use netpol_common::{
    names,
    told::{ToldKey, ToldRow},
};

use super::{
    Object, bpf,
    table::{Hash, error, hash},
};
use crate::dataplane::Error;

/// Rows taken out with one system call.
const BATCH: usize = 4096;

/// `np_told` and `np_loud`.
pub struct Told {
    told: Hash<ToldKey, ToldRow>,
    loud: Hash<u32, ToldRow>,
}

/// What was counted and made no event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Untold {
    /// Like something that made one.
    pub repeated: Vec<(ToldKey, ToldRow)>,
    /// Of a pod that had made too many, by its interface.
    pub loud: Vec<(u32, ToldRow)>,
}

impl Told {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    ///
    /// If the object lacks one of them.
    pub fn new(object: &mut Object) -> Result<Self, Error> {
        Ok(Self { told: hash(object, names::TOLD)?.0, loud: hash(object, names::LOUD)?.0 })
    }

    /// What came since the last question. From here on everything is news again.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn ask(&mut self) -> Result<Untold, Error> {
        // Rows are made before their events: whoever empties the ring after this has the event of every row.
        Ok(Untold {
            repeated: take(self.told.map(), names::TOLD)?,
            loud: take(self.loud.map(), names::LOUD)?,
        })
    }
}

fn take<K: Pod>(map: &MapData, name: &'static str) -> Result<Vec<(K, ToldRow)>, Error> {
    let mut counted = Vec::new();
    let mut from = None;
    loop {
        let (batch, next) = bpf::take_hash(map.fd().as_fd(), from, BATCH)
            .map_err(|source| error("bpf_map_lookup_and_delete_batch", name, source))?;
        counted.extend(batch.into_iter().filter(|(_, row): &(K, ToldRow)| row.packets > 0));
        if next.is_none() {
            return Ok(counted);
        }
        from = next;
    }
}
