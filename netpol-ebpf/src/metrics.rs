//! Counters per reason and direction, per CPU.

use netpol_common::{direction::Direction, stats};

use crate::maps::STATS;

/// Counts a packet: `reason` 0 for a new connection let through, else a drop reason.
#[inline(always)]
pub fn count(reason: u8, direction: Direction, bytes: u32) {
    add(stats::index(reason, direction), bytes);
}

/// Counts what is no verdict.
#[inline(always)]
pub fn extra(which: stats::Extra) {
    add(which.index(), 0);
}

#[inline(always)]
fn add(index: u32, bytes: u32) {
    if let Some(counter) = STATS.get_ptr_mut(index) {
        // SAFETY: this CPU's own row; programs of one CPU do not interrupt each other.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(bytes);
        }
    }
}
