//! What the agent sets at run time.

use netpol_common::config::Config;

use crate::maps::CONFIG;

/// Read once a packet, before any table: a decision is never attributed to a newer epoch than the rows it came from.
#[inline(always)]
pub fn read() -> Config {
    match CONFIG.get_ptr(0) {
        // SAFETY: a pointer into an array map; volatile because the agent stores through mmap.
        Some(row) => unsafe { row.read_volatile() },
        None => Config { epoch: 0, flags: 0 },
    }
}
