//! Reads many rows of a hash map at once, or takes them out.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use bytemuck::{Pod, Zeroable};

use super::bpf;

const MAP_LOOKUP_BATCH: libc::c_int = 24;
const MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a walk over a hash map goes on: a bucket number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Cursor(u32);

/// Some rows of a hash map, and where to go on (`None`: that was the last bucket).
pub(in super::super) type Batch<K, V> = (Vec<(K, V)>, Option<Cursor>);

/// Reads whole buckets of a hash map, about `rows` rows. A row that stays in the map during a walk is seen exactly once:
/// the walk goes from bucket to bucket, not from key to key.
///
/// `K` and `V` must have the sizes of the map's key and value.
pub(in super::super) fn read_hash<K: Pod, V: Pod>(
    map: impl AsFd,
    from: Option<Cursor>,
    rows: usize,
) -> io::Result<Batch<K, V>> {
    batch(MAP_LOOKUP_BATCH, map, from, rows)
}

/// As [`read_hash`], and removes what it reads: what is written to a row afterwards by who has found it before is lost.
pub(in super::super) fn take_hash<K: Pod, V: Pod>(
    map: impl AsFd,
    from: Option<Cursor>,
    rows: usize,
) -> io::Result<Batch<K, V>> {
    batch(MAP_LOOKUP_AND_DELETE_BATCH, map, from, rows)
}

fn batch<K: Pod, V: Pod>(
    command: libc::c_int,
    map: impl AsFd,
    from: Option<Cursor>,
    rows: usize,
) -> io::Result<Batch<K, V>> {
    let mut rows = rows.max(1);
    loop {
        let (mut keys, mut values) = (vec![K::zeroed(); rows], vec![V::zeroed(); rows]);
        let (start, mut next) = (from.map_or(0, |cursor| cursor.0), 0u32);
        let mut attr = MapBatch {
            in_batch: if from.is_some() { std::ptr::from_ref(&start) as u64 } else { 0 },
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: rows as u32,
            map_fd: map.as_fd().as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: a hash map's batch cursor is four bytes (__htab_map_lookup_and_delete_batch), `keys` and `values` hold
        // `count` elements of the map's sizes, and all of them outlive the call.
        let result = unsafe { bpf(command, &mut attr) };
        let more = match result {
            Ok(_) => true,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
            // One bucket holds more than there was room for.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                rows *= 2;
                continue;
            }
            Err(error) => return Err(error),
        };
        let found = (attr.count as usize).min(rows);
        keys.truncate(found);
        values.truncate(found);
        return Ok((keys.into_iter().zip(values).collect(), more.then_some(Cursor(next))));
    }
}
