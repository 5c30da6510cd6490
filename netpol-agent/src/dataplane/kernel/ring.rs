//! Events that the programs write.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use netpol_common::event::PacketEvent;

use super::{Object, table::error};
use crate::dataplane::Error;

/// `np_drop` or `np_flow`. Its descriptor becomes readable when there is an event.
pub struct Ring(RingBuf<MapData>);

/// What was in a ring.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Drained {
    /// Events, oldest first.
    pub events: Vec<PacketEvent>,
    /// Records of another layout: a program of another version still runs somewhere.
    pub foreign: u64,
}

impl Ring {
    /// Takes the ring with this name out of a loaded object.
    ///
    /// # Errors
    ///
    /// If the object lacks it.
    pub fn new(object: &mut Object, name: &'static str) -> Result<Self, Error> {
        let map = object.take_map(name).map_err(|source| error("take", name, source))?;
        Ok(Self(RingBuf::try_from(map).map_err(|source| error("mmap", name, source))?))
    }

    /// Takes out what is there, at most `most` records, without waiting.
    pub fn drain(&mut self, most: usize) -> Drained {
        let mut drained = Drained::default();
        for _ in 0..most {
            let Some(record) = self.0.next() else { break };
            match bytemuck::try_pod_read_unaligned::<PacketEvent>(&record) {
                Ok(event) if event.version == PacketEvent::VERSION => drained.events.push(event),
                _ => drained.foreign += 1,
            }
        }
        drained
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
