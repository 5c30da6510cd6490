//! The parser of `netpol-common` on the kernel's packets and tables.

use aya_ebpf::bindings::__sk_buff;
use bytemuck::Pod;
pub use netpol_common::parse::*;
use netpol_common::{
    fragment::{FragKey4, FragKey6, FragRow},
    reason::DropReason,
};

use crate::{
    ctx::Skb,
    maps::{FRAG4, FRAG6},
};

impl Buffer for Skb {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.len()
    }
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ifindex()
    }
    #[inline(always)]
    fn linear<T: Pod>(&self, offset: usize) -> Option<T> {
        self.linear(offset)
    }
    #[inline(always)]
    fn pull(&mut self, len: u32) -> Result<(), DropReason> {
        self.pull(len)
    }
    #[inline(always)]
    fn load<T: Pod>(&self, offset: u32) -> Result<T, DropReason> {
        self.load(offset)
    }
    #[inline(always)]
    fn walk(&self, first: u8, start: u32, end: u32) -> u64 {
        np_walk(self.raw(), u64::from(first), u64::from(start), u64::from(end))
    }
    #[inline(always)]
    fn options(&self, len: u32) -> u64 {
        np_options(self.raw(), u64::from(len))
    }
}

/// The walk as a global function: the verifier follows its loop once, on its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_walk(raw: *mut __sk_buff, first: u64, start: u64, end: u64) -> u64 {
    extension::walk(&Skb::from_raw(raw), first as u8, start as u32, end as u32)
}

/// As `np_walk`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_options(raw: *mut __sk_buff, len: u64) -> u64 {
    options::walk(&Skb::from_raw(raw), len as u32)
}

/// `np_frag4` and `np_frag6`.
pub struct Datagrams;

impl Fragments<FragKey4> for Datagrams {
    #[inline(always)]
    fn get(&self, key: &FragKey4) -> Option<FragRow> {
        // SAFETY: copied at once; a row that is replaced meanwhile belongs to a datagram that lost its place.
        unsafe { FRAG4.get(key) }.copied()
    }
    #[inline(always)]
    fn put(&self, key: &FragKey4, row: FragRow) -> Result<(), DropReason> {
        FRAG4.insert(key, row, 0).or(Err(DropReason::Fragment))
    }
}

impl Fragments<FragKey6> for Datagrams {
    #[inline(always)]
    fn get(&self, key: &FragKey6) -> Option<FragRow> {
        // SAFETY: as for IPv4.
        unsafe { FRAG6.get(key) }.copied()
    }
    #[inline(always)]
    fn put(&self, key: &FragKey6, row: FragRow) -> Result<(), DropReason> {
        FRAG6.insert(key, row, 0).or(Err(DropReason::Fragment))
    }
}
