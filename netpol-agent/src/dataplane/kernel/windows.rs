//! An array that is written through memory, and of which no more lies there than is used.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{OnceLock, atomic::AtomicU64},
};

use super::arena::Mapped;

/// Bytes that are mapped at once: a multiple of any page.
const WINDOW: usize = 256 << 10;
/// 64-bit words of a window.
const WORDS: usize = WINDOW / size_of::<u64>();

/// A `BPF_F_MMAPABLE` array map in this process's memory, window by window.
///
/// The kernel counts the pages of an array as the process's from the moment they are mapped (`remap_vmalloc_range` in mm/vmalloc.c
/// inserts each of them), whether anything was ever written there or not. Tables have room for the largest cluster.
pub(super) struct Windows {
    map: OwnedFd,
    /// In words.
    len: usize,
    windows: Box<[OnceLock<Mapped<AtomicU64>>]>,
}

impl Windows {
    /// `rows` and `row_bytes` (a multiple of 8) as the map was created. Nothing of it is mapped yet.
    pub(super) fn new(map: impl AsFd, rows: u32, row_bytes: usize) -> io::Result<Self> {
        let bytes = rows as usize * row_bytes;
        Ok(Self {
            map: map.as_fd().try_clone_to_owned()?,
            len: bytes / size_of::<u64>(),
            windows: (0..bytes.div_ceil(WINDOW)).map(|_| OnceLock::new()).collect(),
        })
    }

    /// How many words there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A word of the array.
    pub(super) fn word(&self, at: usize) -> io::Result<&AtomicU64> {
        let absent = || io::Error::other("the map has no such row");
        let (number, within) = (at / WORDS, at % WORDS);
        let window = self.windows.get(number).ok_or_else(absent)?;
        let mapped = match window.get() {
            Some(mapped) => mapped,
            None => {
                let words = (self.len - number * WORDS).min(WORDS);
                let first = (number * WINDOW) as u64;
                let mapped = Mapped::part(&self.map, first, words * size_of::<u64>())?;
                window.get_or_init(|| mapped)
            }
        };
        mapped.words().get(within).ok_or_else(absent)
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::FileExt, sync::atomic::Ordering};

    use super::*;

    #[test]
    fn words_are_the_files_and_only_windows_that_are_used_are_mapped() {
        // A file stands for the map: three windows, the last one of a row.
        let file = tempfile::tempfile().unwrap();
        let rows = u32::try_from(2 * WORDS / 3 + 1).unwrap();
        let len = rows as usize * 3;
        file.set_len((len * size_of::<u64>()) as u64).unwrap();
        let windows = Windows::new(&file, rows, 3 * size_of::<u64>()).unwrap();
        let mapped = || windows.windows.iter().filter(|window| window.get().is_some()).count();
        assert_eq!((windows.len(), windows.windows.len(), mapped()), (len, 3, 0));

        for (at, windows_by_now) in [(0, 1), (WORDS - 1, 1), (len - 1, 2), (WORDS, 3)] {
            windows.word(at).unwrap().store(at as u64 + 1, Ordering::Relaxed);
            assert_eq!(mapped(), windows_by_now, "word {at}");
            let mut bytes = [0; size_of::<u64>()];
            file.read_exact_at(&mut bytes, (at * size_of::<u64>()) as u64).unwrap();
            assert_eq!(u64::from_ne_bytes(bytes), at as u64 + 1);
        }
        assert_eq!(windows.word(0).unwrap().load(Ordering::Relaxed), 1);
        assert!(windows.word(len).is_err() && windows.word(usize::MAX).is_err());
    }
}
