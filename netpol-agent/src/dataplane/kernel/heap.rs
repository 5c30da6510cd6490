//! How the agent's allocator asks the kernel for memory, and gives it back (`docs/adr/0134-allocator.md`).

use std::{ffi::CStr, io, ptr};

use tikv_jemalloc_sys::mallctl;

/// Options of jemalloc(3), which it reads when the process starts: two arenas, as many as there are threads that do most of the work (by default four for
/// each processor, each with free memory of its own), and what is free is the kernel's again after a second, not after ten.
///
/// They count in programs that have the allocator.
// SAFETY: nothing else in the program has this name, and jemalloc reads it as what it is: a pointer to a text that ends with 0.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 47] = b"narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Purges all arenas (`MALLCTL_ARENAS_ALL`).
const PURGE: &CStr = c"arena.4096.purge";

/// Gives memory that is free back to the kernel at once: for after a time in which much came and went. Otherwise it goes little by little, as
/// memory is asked for, so that of an agent to which nothing happens any more it would stay.
///
/// # Errors
/// If the allocator does not know how.
pub fn give_back() -> io::Result<()> {
    // SAFETY: the name ends with 0, and this one neither reads nor writes through the pointers.
    let failed = unsafe { mallctl(PURGE.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) };
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_knows_how_to_give_back() {
        give_back().unwrap();
    }
}
