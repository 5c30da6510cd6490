//! A packet in plain memory: what tests and fuzzers parse.

use bytemuck::Pod;

use super::Buffer;
use crate::reason::DropReason;

/// A packet of which the first bytes are linear, as the kernel's may be.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    packet: &'a [u8],
    linear: usize,
    ifindex: u32,
}

impl<'a> Bytes<'a> {
    /// `packet` with its Ethernet header, `linear` bytes of which can be read in place before a [`Buffer::pull`], seen on
    /// interface `ifindex`.
    #[must_use]
    pub const fn new(packet: &'a [u8], linear: usize, ifindex: u32) -> Self {
        Self { packet, linear, ifindex }
    }

    fn read<T: Pod>(&self, offset: usize, end: usize) -> Option<T> {
        let bytes = self.packet.get(..end.min(self.packet.len()))?.get(offset..)?.get(..size_of::<T>())?;
        Some(bytemuck::pod_read_unaligned(bytes))
    }
}

impl Buffer for Bytes<'_> {
    fn length(&self) -> u32 {
        u32::try_from(self.packet.len()).unwrap_or(u32::MAX)
    }
    fn ifindex(&self) -> u32 {
        self.ifindex
    }
    fn linear<T: Pod>(&self, offset: usize) -> Option<T> {
        self.read(offset, self.linear)
    }
    fn pull(&mut self, len: u32) -> Result<(), DropReason> {
        let len = len as usize;
        if len > self.packet.len() {
            return Err(DropReason::Malformed);
        }
        self.linear = self.linear.max(len);
        Ok(())
    }
    fn load<T: Pod>(&self, offset: u32) -> Result<T, DropReason> {
        self.read(offset as usize, usize::MAX).ok_or(DropReason::Malformed)
    }
}
