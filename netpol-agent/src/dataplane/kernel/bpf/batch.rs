//! Many rows of a hash map at once: read, taken out, written, removed.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use bytemuck::{Pod, Zeroable};

use super::bpf;

const MAP_LOOKUP_BATCH: libc::c_int = 24;
const MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;
const MAP_UPDATE_BATCH: libc::c_int = 26;
const MAP_DELETE_BATCH: libc::c_int = 27;

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

/// Writes rows of a hash map, one after the other, until one is refused. How many were written, at least one.
///
/// `K` and `V` must have the sizes of the map's key and value.
///
/// # Errors
/// If the first row was not written: it was refused, or the kernel has no such call for this map.
pub(in super::super) fn update_rows<K: Pod, V: Pod>(map: impl AsFd, rows: &[(K, V)]) -> io::Result<usize> {
    let (keys, values): (Vec<K>, Vec<V>) = rows.iter().copied().unzip();
    write(MAP_UPDATE_BATCH, map, &keys, values.as_ptr() as u64)
}

/// Removes rows of a hash map, one after the other, until one is refused or is not there. How many were removed, at least one.
///
/// `K` must have the size of the map's key.
///
/// # Errors
/// If the first row was not removed: it was refused or not there, or the kernel has no such call for this map.
pub(in super::super) fn delete_rows<K: Pod>(map: impl AsFd, keys: &[K]) -> io::Result<usize> {
    write(MAP_DELETE_BATCH, map, keys, 0)
}

fn write<K: Pod>(command: libc::c_int, map: impl AsFd, keys: &[K], values: u64) -> io::Result<usize> {
    let mut attr = MapBatch {
        keys: keys.as_ptr() as u64,
        values,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map_fd: map.as_fd().as_raw_fd() as u32,
        ..MapBatch::zeroed()
    };
    // SAFETY: `keys` holds `count` elements of the map's key size, and so does what `values` points to of its value size, which
    // only an update reads. Both outlive the call.
    match unsafe { bpf(command, &mut attr) } {
        Ok(_) => Ok(keys.len()),
        Err(error) => carried_out(keys.len(), attr.count as usize).ok_or(error),
    }
}

/// How many of `wanted` rows a call has carried out that failed and left this `count`; `None`: not one. A call that fails before its
/// first row leaves the count as it was (kernels before 6.8), where one that fails at a row has always counted fewer.
fn carried_out(wanted: usize, count: usize) -> Option<usize> {
    (1..wanted).contains(&count).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_fails_before_its_first_row_has_carried_out_none() {
        for (count, done) in [(0, None), (1, Some(1)), (9, Some(9)), (10, None), (11, None)] {
            assert_eq!(carried_out(10, count), done, "{count}");
        }
    }
}
