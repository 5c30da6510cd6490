//! How the agent's allocator asks the kernel for memory, and gives it back (`docs/adr/0134-allocator.md`).

/// Options of jemalloc(3), which it reads when the process starts: two arenas, as many as there are threads that do most of the work (by default four for
/// each processor, each with free memory of its own), and what is free is the kernel's again after a second, not after ten.
///
/// They count in programs that have the allocator.
// SAFETY: nothing else in the program has this name, and jemalloc reads it as what it is: a pointer to a text that ends with 0.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 47] = b"narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0\0";
