//! What the agent sets at run time, and what the programs tell it there.

use netpol_common::config::Config;

use crate::maps::CONFIG;

/// Read once a packet, before any table: a decision is never attributed to a newer epoch than the rows it came from.
#[inline(always)]
pub fn read() -> Config {
    let none = Config { epoch: 0, flags: 0, short: 0, hz: 0 };
    match CONFIG.get_ptr(0) {
        Some(row) => {
            // SAFETY: a pointer into an array map; volatile because the agent stores through mmap.
            let both = unsafe { row.cast::<u64>().read_volatile() };
            Config { epoch: both as u32, flags: (both >> 32) as u32, ..none }
        }
        None => none,
    }
}

/// See [`netpol_common::config::short`].
#[inline(always)]
pub fn short() -> u32 {
    match CONFIG.get_ptr(0) {
        // SAFETY: as in `read`.
        Some(row) => unsafe { (&raw const (*row).short).read_volatile() },
        None => 0,
    }
}

/// Jiffies a second, 0 if the agent does not know yet.
#[inline(always)]
pub fn hz() -> u32 {
    match CONFIG.get_ptr(0) {
        // SAFETY: as in `read`.
        Some(row) => unsafe { (&raw const (*row).hz).read_volatile() },
        None => 0,
    }
}

/// Tells the agent and the next packets. Two CPUs, or the agent's clearing, may undo each other: the next connection that
/// finds no room says it again.
#[inline(always)]
pub fn note_short(bits: u32) {
    if let Some(row) = CONFIG.get_ptr_mut(0) {
        // SAFETY: as in `read`; a single word.
        unsafe {
            let short = (&raw const (*row).short).read_volatile();
            if short & bits != bits {
                (&raw mut (*row).short).write_volatile(short | bits);
            }
        }
    }
}
