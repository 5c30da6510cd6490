use anyhow::Result;
use netpol_agent::dataplane::kernel::Sizes;

use super::{Interfaces, Judge, KernelJudge};

/// What stations stand on: dataplanes for them, and interfaces.
pub trait Ground {
    /// The dataplanes.
    type Judge: Judge;

    /// A new, empty dataplane with room for so many connections.
    ///
    /// # Errors
    /// If it cannot be made.
    fn dataplane(&mut self, connections: u32) -> Result<Self::Judge>;

    /// The interface for whatever has this name; the same at every call.
    ///
    /// # Errors
    /// If it cannot be made.
    fn interface(&mut self, owner: &str) -> Result<u32>;

    /// The interface that packets from other nodes come in by.
    fn uplink(&self) -> u32;
}

/// The kernel's programs and maps, and real interfaces.
#[derive(Debug)]
pub struct KernelGround(Interfaces);

impl KernelGround {
    /// In a new network namespace, which the calling thread is in from now on.
    ///
    /// # Errors
    /// See [`Interfaces::enter`].
    pub fn enter() -> Result<Self> {
        Ok(Self(Interfaces::enter()?))
    }
}

impl Ground for KernelGround {
    type Judge = KernelJudge;

    fn dataplane(&mut self, connections: u32) -> Result<KernelJudge> {
        KernelJudge::load(Sizes { ct: connections, ..Sizes::small() }, self.0.uplink())
    }
    fn interface(&mut self, owner: &str) -> Result<u32> {
        self.0.interface(owner)
    }
    fn uplink(&self) -> u32 {
        self.0.uplink()
    }
}
