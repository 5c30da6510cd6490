//! Arrays that are written through memory: one store instead of one system call per row.

use std::{
    ffi::c_void,
    io,
    marker::PhantomData,
    os::fd::AsFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An atomic number that any bytes are a value of.
///
/// # Safety
///
/// Implemented only for atomics of the standard library.
pub(super) unsafe trait Word {}
// SAFETY: an atomic of the standard library.
unsafe impl Word for AtomicU32 {}
// SAFETY: an atomic of the standard library.
unsafe impl Word for AtomicU64 {}

/// A `BPF_F_MMAPABLE` array map in this process's memory, as atomic words: programs read while the agent writes.
///
/// The kernel lays rows out one after the other, each rounded up to 8 bytes (`array_map_alloc` in
/// kernel/bpf/arraymap.c), so rows of 8, 16 or 24 bytes lie without gaps.
pub(super) struct Mapped<W: Word> {
    start: NonNull<c_void>,
    bytes: usize,
    word: PhantomData<W>,
}

// SAFETY: the memory is shared with the kernel anyway; this process reaches it only through atomics.
unsafe impl<W: Word> Send for Mapped<W> {}
// SAFETY: as above.
unsafe impl<W: Word> Sync for Mapped<W> {}

impl<W: Word> Mapped<W> {
    /// All of a map: `rows` and `row_bytes` (a multiple of 8) as it was created.
    pub(super) fn new(map: impl AsFd, rows: u32, row_bytes: usize) -> io::Result<Self> {
        Self::part(map, 0, rows as usize * row_bytes)
    }

    /// `bytes` of a map (a multiple of 8) from a byte on that is the first of a page.
    pub(super) fn part(map: impl AsFd, first: u64, bytes: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address that the kernel picks; the kernel refuses more than the map holds, up to
        // the end of its last page.
        let start = unsafe {
            mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map, first)
        }?;
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mmap returned null"))?;
        Ok(Self { start, bytes, word: PhantomData })
    }

    /// All of it.
    pub(super) fn words(&self) -> &[W] {
        // SAFETY: the mapping is page-aligned, `bytes` long and lives as long as `self`; `W` is an atomic, so writes of
        // others through shared references are no data race on this side.
        unsafe { std::slice::from_raw_parts(self.start.cast::<W>().as_ptr(), self.bytes / size_of::<W>()) }
    }
}

impl<W: Word> Drop for Mapped<W> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `part`, and no reference into it outlives `self`.
        if let Err(error) = unsafe { munmap(self.start.as_ptr(), self.bytes) } {
            tracing::warn!(%error, "munmap of a BPF array");
        }
    }
}
