//! Events that the programs write.

use std::io;

use aya::maps::{MapData, RingBuf};
use netpol_common::event::PacketEvent;
use tokio::io::{Interest, unix::AsyncFd};

use super::{Object, table::error};
use crate::dataplane::Error;

/// `np_drop` or `np_flow`.
pub struct Ring(RingBuf<MapData>);

/// What was in a ring.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Drained {
    /// Events, oldest first.
    pub events: Vec<PacketEvent>,
    /// Records of another layout: a program of another version still runs somewhere.
    pub foreign: u64,
}

impl Drained {
    fn records(&self) -> u64 {
        self.events.len() as u64 + self.foreign
    }
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
        drain(&mut self.0, most)
    }

    /// For waiting. To be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the ring cannot be polled.
    pub fn waiting(self) -> io::Result<WaitingRing> {
        // SAFETY: the ring owns its descriptor, and `AsyncFd` owns the ring from here on.
        Ok(WaitingRing(unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) }?))
    }
}

/// A ring that can be waited for.
pub struct WaitingRing(AsyncFd<RingBuf<MapData>>);

impl WaitingRing {
    /// Waits until something is there, and takes at most `most` records.
    ///
    /// # Errors
    ///
    /// If the ring cannot be polled any more.
    pub async fn next(&mut self, most: usize) -> io::Result<Drained> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let drained = drain(ready.get_inner_mut(), most);
            // Ready is cleared only when the ring was seen empty: it speaks up again for the next record alone.
            if drained.records() < most as u64 {
                ready.clear_ready();
            }
            if drained.records() > 0 {
                return Ok(drained);
            }
        }
    }
}

fn drain(ring: &mut RingBuf<MapData>, most: usize) -> Drained {
    let mut drained = Drained::default();
    for _ in 0..most {
        let Some(record) = ring.next() else { break };
        match bytemuck::try_pod_read_unaligned::<PacketEvent>(&record) {
            Ok(event) if event.version == PacketEvent::VERSION => drained.events.push(event),
            _ => drained.foreign += 1,
        }
    }
    drained
}
