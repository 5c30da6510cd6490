//! The mark of what was translated in front, between `from_wire` and `from_netdev`.
//!
//! Metadata is not cleared on every way that a buffer can take, and other programs write theirs to the same place. So a mark is
//! believed for its secret alone.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::wire::{CARRIES_MARKS, Mark};

use crate::{
    ctx::Skb,
    maps::{MARK, WIRE},
};

/// 0 as long as there is none.
#[inline(always)]
pub fn secret() -> u64 {
    match MARK.get_ptr(0) {
        // SAFETY: a pointer into an array map; volatile because the agent stores through mmap.
        Some(row) => unsafe { row.read_volatile() },
        None => 0,
    }
}

/// The pod's interface that a buffer is marked for, or 0. Has a frame of its own on the stack, so that the verifier forgets what it saw
/// there.
#[inline(never)]
pub fn receiver(raw: *mut __sk_buff) -> u32 {
    let skb = &Skb::from_raw(raw);
    let Some(mark) = skb.metadata::<Mark>() else { return 0 };
    let Some(receiver) = mark.receiver(secret()) else { return 0 };
    if receiver == 0
        && let Some(row) = WIRE.get_ptr_mut(skb.ifindex())
    {
        // SAFETY: a non-null pointer into a hash map; a single word, which the agent may undo: the next such frame says it again.
        unsafe { (&raw mut (*row).marks).write_volatile(CARRIES_MARKS) };
    }
    receiver
}
