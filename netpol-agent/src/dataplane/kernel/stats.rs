//! The programs' counters.

use aya::maps::{MapData, PerCpuArray};
use netpol_common::{
    names,
    stats::{self, Counter},
};

use super::{Object, abi::Abi, table::error};
use crate::dataplane::Error;

/// `np_stats`.
pub struct Stats(PerCpuArray<MapData, Abi<Counter>>);

impl Stats {
    /// Takes the map out of a loaded object.
    ///
    /// # Errors
    ///
    /// If the object lacks it.
    pub fn new(object: &mut Object) -> Result<Self, Error> {
        let map = object.take_map(names::STATS).map_err(|source| error("take", names::STATS, source))?;
        Ok(Self(PerCpuArray::try_from(map).map_err(|source| error("open", names::STATS, source))?))
    }

    /// Every counter over all CPUs, by [`stats::index`] and [`stats::Extra::index`]. They only grow.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn read(&self) -> Result<Vec<Counter>, Error> {
        (0..stats::ROWS)
            .map(|row| {
                let values = self
                    .0
                    .get(&row, 0)
                    .map_err(|source| error("bpf_map_lookup_elem", names::STATS, source))?;
                Ok(values.iter().fold(Counter::default(), |sum, Abi(value)| Counter {
                    packets: sum.packets.wrapping_add(value.packets),
                    bytes: sum.bytes.wrapping_add(value.bytes),
                }))
            })
            .collect()
    }
}
