//! What the parser asks of a packet and of the tables of fragments.

use bytemuck::Pod;

use super::{extension, options};
use crate::{fragment::FragRow, reason::DropReason};

/// A packet as it lies in memory, from its Ethernet header on. Offsets are counted from there.
pub trait Buffer {
    /// Length in bytes; all segments of a GSO packet together.
    fn length(&self) -> u32;
    /// Index of the interface that the program is attached to.
    fn ifindex(&self) -> u32;
    /// The bytes at `offset`, read in place; `None` if they do not lie in the linear part. `offset` must be as aligned
    /// as a `T`, counted from the network header.
    fn linear<T: Pod>(&self, offset: usize) -> Option<T>;
    /// Makes the first `len` bytes linear.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] if the packet is shorter.
    fn pull(&mut self, len: u32) -> Result<(), DropReason>;
    /// The bytes at `offset`, wherever they lie.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] if the packet ends before.
    fn load<T: Pod>(&self, offset: u32) -> Result<T, DropReason>;
    /// [`extension::walk`] on this packet. The kernel's verifier wants it in a function of its own.
    fn walk(&self, first: u8, start: u32, end: u32) -> u64
    where
        Self: Sized,
    {
        extension::walk(self, first, start, end)
    }
    /// [`options::walk`] on this packet, likewise.
    fn options(&self, len: u32) -> u64
    where
        Self: Sized,
    {
        options::walk(self, len)
    }
}

/// The ports that first fragments leave for the others of their datagram, under keys of one family.
pub trait Fragments<K> {
    /// What the first fragment left.
    fn get(&self, key: &K) -> Option<FragRow>;
    /// Leaves `row` for the others.
    ///
    /// # Errors
    /// [`DropReason::Fragment`] if there is no room.
    fn put(&self, key: &K, row: FragRow) -> Result<(), DropReason>;
}
