//! One hash or prefix map: opening, reading, writing.

use std::{collections::BTreeMap, error::Error as StdError, io};

use aya::{
    maps::{HashMap, IterableMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key},
    sys::SyscallError,
};
use bytemuck::Pod;

use super::{LoadError, Object, abi::Abi, bpf};
use crate::dataplane::Error;

pub(super) type Hash<K, V> = HashMap<MapData, Abi<K>, Abi<V>>;
pub(super) type Lpm<K, V> = LpmTrie<MapData, Abi<K>, Abi<V>>;

/// A row that is there stays.
const BPF_NOEXIST: u64 = 1;

/// Rows read, written or removed with one system call.
const BATCH: usize = 1024;

pub(super) fn error(
    call: &'static str,
    map: impl Into<String>,
    source: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    Error { call, map: map.into(), source: source.into() }
}

fn take(object: &mut Object, name: &'static str) -> Result<Map, Error> {
    object.take_map(name).map_err(|source: LoadError| error("take", name, source))
}

/// How many rows the map has room for.
pub(super) fn room(map: &MapData, name: &'static str) -> Result<u32, Error> {
    Ok(map.info().map_err(|source| error("bpf_obj_get_info_by_fd", name, source))?.max_entries())
}

/// A hash map and how many rows it has room for.
pub(super) fn hash<K: Pod, V: Pod>(
    object: &mut Object,
    name: &'static str,
) -> Result<(Hash<K, V>, usize), Error> {
    let map =
        HashMap::try_from(take(object, name)?).map_err(|source: MapError| error("open", name, source))?;
    let room = room(map.map(), name)?;
    Ok((map, room as usize))
}

/// A prefix map and how many rows it has room for.
pub(super) fn lpm<K: Pod, V: Pod>(
    object: &mut Object,
    name: &'static str,
) -> Result<(Lpm<K, V>, usize), Error> {
    let map =
        LpmTrie::try_from(take(object, name)?).map_err(|source: MapError| error("open", name, source))?;
    let room = room(map.map(), name)?;
    Ok((map, room as usize))
}

/// The bare map, where rows are not written one by one.
pub(super) fn array(object: &mut Object, name: &'static str) -> Result<MapData, Error> {
    match take(object, name)? {
        Map::Array(data) => Ok(data),
        _ => Err(error("open", name, io::Error::other("it is not an array"))),
    }
}

pub(super) fn put<K: Pod, V: Pod>(map: &mut Hash<K, V>, key: &K, value: &V, name: &str) -> Result<(), Error> {
    map.insert(Abi(*key), Abi(*value), 0).map_err(|source| error("bpf_map_update_elem", name, source))
}

/// Writes a row unless there is one; whether it did.
pub(super) fn add<K: Pod, V: Pod>(
    map: &mut Hash<K, V>,
    key: &K,
    value: &V,
    name: &str,
) -> Result<bool, Error> {
    match map.insert(Abi(*key), Abi(*value), BPF_NOEXIST) {
        Ok(()) => Ok(true),
        Err(MapError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == io::ErrorKind::AlreadyExists =>
        {
            Ok(false)
        }
        Err(source) => Err(error("bpf_map_update_elem", name, source)),
    }
}

pub(super) fn contains<K: Pod, V: Pod>(map: &Hash<K, V>, key: &K, name: &str) -> Result<bool, Error> {
    match map.get(&Abi(*key), 0) {
        Ok(_) => Ok(true),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(source) => Err(error("bpf_map_lookup_elem", name, source)),
    }
}

/// Removes a row if it is there.
pub(super) fn delete<K: Pod, V: Pod>(map: &mut Hash<K, V>, key: &K, name: &str) -> Result<(), Error> {
    gone(map.remove(&Abi(*key)), name)
}

/// Writes the rows of operations on this map that lie behind each other, with one system call, until one is refused. How many: none if
/// there is but one, if it is the first that is refused, or if the kernel cannot do so; then it is to be written by itself,
/// which tells why.
pub(super) fn put_run<'a, O, K: Pod, V: Pod>(
    map: &Hash<K, V>,
    ops: &'a [O],
    row: impl Fn(&'a O) -> Option<(K, V)>,
) -> usize {
    let rows: Vec<(K, V)> = ops.iter().take(BATCH).map_while(row).collect();
    if rows.len() < 2 { 0 } else { bpf::update_rows(map.map().fd(), &rows).unwrap_or(0) }
}

/// As [`put_run`], and removes rows, until one is not there.
pub(super) fn delete_run<'a, O, K: Pod, V: Pod>(
    map: &Hash<K, V>,
    ops: &'a [O],
    key: impl Fn(&'a O) -> Option<K>,
) -> usize {
    let keys: Vec<K> = ops.iter().take(BATCH).map_while(key).collect();
    if keys.len() < 2 { 0 } else { bpf::delete_rows(map.map().fd(), &keys).unwrap_or(0) }
}

pub(super) fn put_prefix<K: Pod, V: Pod>(
    map: &mut Lpm<K, V>,
    (bits, data): (u32, K),
    row: &V,
    name: &str,
) -> Result<(), Error> {
    map.insert(&Key::new(bits, Abi(data)), Abi(*row), 0)
        .map_err(|source| error("bpf_map_update_elem", name, source))
}

/// Removes a prefix if it is there.
pub(super) fn delete_prefix<K: Pod, V: Pod>(
    map: &mut Lpm<K, V>,
    (bits, data): (u32, K),
    name: &str,
) -> Result<(), Error> {
    gone(map.remove(&Key::new(bits, Abi(data))), name)
}

fn gone(result: Result<(), MapError>, name: &str) -> Result<(), Error> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        result => result.map_err(|source| error("bpf_map_delete_elem", name, source)),
    }
}

/// All rows.
pub(super) fn read<K: Pod, V: Pod, L: Ord>(
    map: &Hash<K, V>,
    name: &'static str,
    decode: impl Fn(K) -> L,
) -> Result<BTreeMap<L, V>, Error> {
    let mut rows = BTreeMap::new();
    let mut from = None;
    loop {
        let (batch, next) = bpf::read_hash(map.map().fd(), from, BATCH)
            .map_err(|source| error("bpf_map_lookup_batch", name, source))?;
        rows.extend(batch.into_iter().map(|(key, value)| (decode(key), value)));
        if next.is_none() {
            return Ok(rows);
        }
        from = next;
    }
}

/// All prefixes: decoded from their length in bits and their data.
pub(super) fn read_prefixes<K: Pod, V: Pod, L: Ord>(
    map: &Lpm<K, V>,
    name: &'static str,
    decode: impl Fn(u32, K) -> Option<L>,
) -> Result<BTreeMap<L, V>, Error> {
    map.iter()
        .map(|row| {
            let (key, Abi(row)) = row.map_err(|source| error("bpf_map_get_next_key", name, source))?;
            let Abi(data) = key.data();
            let key = decode(key.prefix_len(), data);
            let key = key.ok_or_else(|| error("decode", name, io::Error::other("not a prefix")))?;
            Ok((key, row))
        })
        .collect()
}
