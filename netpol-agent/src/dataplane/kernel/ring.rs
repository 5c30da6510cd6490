//! Events that the programs write.

use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use netpol_common::event::PacketEvent;

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

    /// Waits until something is there, and takes at most `most` records.
    ///
    /// The programs wake nobody, so that neither a flood of drops nor a new connection costs a wake-up: the ring is looked
    /// into [`LOOK_EVERY`] while it is empty. Safe to cancel: nothing is taken before it is returned.
    pub async fn next(&mut self, most: usize) -> Drained {
        loop {
            let drained = self.drain(most);
            if drained.records() > 0 {
                return drained;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// How late an event is noticed at most. A ring of 1 MiB takes 300,000 drops a second in that time.
pub const LOOK_EVERY: Duration = Duration::from_millis(25);

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
