//! How many frames the program has translated.

use aya::maps::{MapData, PerCpuArray};
use netpol_common::names;

use super::super::{Object, table::error};
use crate::dataplane::Error;

/// `np_wire_sent`. It begins anew with each agent, since its program does.
pub struct XdpCounter(PerCpuArray<MapData, u64>);

impl XdpCounter {
    /// Takes the map out of a loaded object.
    ///
    /// # Errors
    ///
    /// If the object lacks it.
    pub fn new(object: &mut Object) -> Result<Self, Error> {
        let map =
            object.take_map(names::WIRE_SENT).map_err(|source| error("take", names::WIRE_SENT, source))?;
        Ok(Self(PerCpuArray::try_from(map).map_err(|source| error("open", names::WIRE_SENT, source))?))
    }

    /// Frames over all CPUs.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn read(&self) -> Result<u64, Error> {
        let values =
            self.0.get(&0, 0).map_err(|source| error("bpf_map_lookup_elem", names::WIRE_SENT, source))?;
        Ok(values.iter().fold(0, |sum, value| sum.wrapping_add(*value)))
    }
}
