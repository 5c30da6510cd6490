//! The frame as a driver received it. The only file that calls helpers on it.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{self, bpf_redirect, bpf_xdp_adjust_meta},
};
use bytemuck::Pod;
use netpol_common::{
    fragment::FragRow,
    parse::{Buffer, Fragments},
    reason::DropReason,
    wire::Mark,
};

use crate::ctx::Route;

/// A frame that has no buffer of the kernel's yet.
pub struct Frame(*mut xdp_md);

impl Frame {
    #[inline(always)]
    pub fn from_raw(raw: *mut xdp_md) -> Self {
        Self(raw)
    }

    /// Where it lies, and where it ends.
    #[inline(always)]
    fn ends(&self) -> (usize, usize) {
        // SAFETY: the context pointer is the kernel's and lives as long as the program; the verifier knows these two fields as
        // packet pointers.
        unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) }
    }

    /// Writes a `T` at `offset`, which is as aligned as for [`Buffer::linear`]. A frame of several buffers is written in its first one.
    #[inline(always)]
    pub fn store<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        let (data, end) = self.ends();
        if data + offset + size_of::<T>() > end {
            return None;
        }
        // SAFETY: the bytes lie there, and nobody else has the frame.
        unsafe { ((data + offset) as *mut T).write(value) };
        Some(())
    }

    /// Puts a mark before the frame, where the driver has room for one. Nothing is changed if not.
    #[inline(always)]
    pub fn mark(&mut self, mark: Mark) -> Option<()> {
        const LENGTH: i32 = size_of::<Mark>() as i32;
        // There is something already where a driver left hints: nobody behind this program asks for them.
        // SAFETY: the helper checks the length.
        if !self.has_room() && unsafe { bpf_xdp_adjust_meta(self.0, -LENGTH) } != 0 {
            return None;
        }
        let (meta, data) = self.metadata();
        if meta + size_of::<Mark>() > data {
            return None;
        }
        // SAFETY: the bytes lie there, and nobody else has the frame.
        unsafe { (meta as *mut Mark).write(mark) };
        Some(())
    }

    #[inline(always)]
    fn has_room(&self) -> bool {
        let (meta, data) = self.metadata();
        meta + size_of::<Mark>() <= data
    }

    /// Where metadata lies, and where it ends.
    #[inline(always)]
    fn metadata(&self) -> (usize, usize) {
        // SAFETY: as in `ends`.
        unsafe { ((*self.0).data_meta as usize, (*self.0).data as usize) }
    }

    /// See [`Skb::look_up_route`](crate::ctx::Skb::look_up_route).
    #[inline(always)]
    pub fn look_up_route(&self, route: &mut Route, flags: u32) -> i64 {
        let len = size_of::<Route>() as i32;
        let context: *mut c_void = self.0.cast();
        // SAFETY: `Route` is laid out as `struct bpf_fib_lookup` (asserted in `ctx`), and initialised.
        unsafe { helpers::bpf_fib_lookup(context, core::ptr::from_mut(route).cast(), len, flags) }
    }

    /// Sends the frame out by another interface. Returns the XDP action.
    #[inline(always)]
    pub fn redirect(&mut self, ifindex: u32) -> u32 {
        // SAFETY: the helper takes numbers only.
        unsafe { bpf_redirect(ifindex, 0) as u32 }
    }
}

/// What is not in its usual place is not read here: the TC programs do.
impl Buffer for Frame {
    #[inline(always)]
    fn length(&self) -> u32 {
        let (data, end) = self.ends();
        (end - data) as u32
    }
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as in `ends`.
        unsafe { (*self.0).ingress_ifindex }
    }
    #[inline(always)]
    fn linear<T: Pod>(&self, offset: usize) -> Option<T> {
        let (data, end) = self.ends();
        if data + offset + size_of::<T>() > end {
            return None;
        }
        // SAFETY: the bytes lie there; drivers leave two bytes before the Ethernet header (NET_IP_ALIGN) where it matters.
        Some(unsafe { ((data + offset) as *const T).read() })
    }
    #[inline(always)]
    fn pull(&mut self, _len: u32) -> Result<(), DropReason> {
        Err(DropReason::Malformed)
    }
    #[inline(always)]
    fn load<T: Pod>(&self, _offset: u32) -> Result<T, DropReason> {
        Err(DropReason::Malformed)
    }
    #[inline(always)]
    fn walk(&self, _first: u8, _start: u32, _end: u32) -> u64 {
        u64::MAX
    }
    #[inline(always)]
    fn options(&self, _len: u32) -> u64 {
        DropReason::Malformed as u64
    }
}

/// No fragment is known here.
pub struct NoFragments;

impl<K> Fragments<K> for NoFragments {
    #[inline(always)]
    fn get(&self, _key: &K) -> Option<FragRow> {
        None
    }
    #[inline(always)]
    fn put(&self, _key: &K, _row: FragRow) -> Result<(), DropReason> {
        Err(DropReason::Fragment)
    }
}
