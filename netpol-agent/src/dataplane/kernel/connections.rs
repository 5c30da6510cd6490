//! Single rows of the connection tables: for tests and benchmarks, which look at an entry or place one.

use bytemuck::Pod;
use netpol_common::{
    conntrack::{CtEntry, CtKey4, CtKey6},
    names,
};

use super::{
    Object,
    abi::Abi,
    table::{Hash, delete, error, hash, put},
};
use crate::dataplane::Error;

/// `np_ct4` and `np_ct6`, row by row.
pub struct Connections {
    v4: Hash<CtKey4, CtEntry>,
    v6: Hash<CtKey6, CtEntry>,
}

/// A key of either table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ConnectionKey {
    /// Of `np_ct4`.
    V4(CtKey4),
    /// Of `np_ct6`.
    V6(CtKey6),
}

impl Connections {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    ///
    /// If the object lacks one of them.
    pub fn new(object: &mut Object) -> Result<Self, Error> {
        Ok(Self { v4: hash(object, names::CT4)?.0, v6: hash(object, names::CT6)?.0 })
    }

    /// Writes an entry, whether there is one or not.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, for example because the table is full.
    pub fn put(&mut self, key: ConnectionKey, entry: CtEntry) -> Result<(), Error> {
        match key {
            ConnectionKey::V4(key) => put(&mut self.v4, &key, &entry, names::CT4),
            ConnectionKey::V6(key) => put(&mut self.v6, &key, &entry, names::CT6),
        }
    }

    /// Removes every entry.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn clear(&mut self) -> Result<(), Error> {
        clear(&mut self.v4, names::CT4)?;
        clear(&mut self.v6, names::CT6)
    }

    /// The entry of a connection, `None` if it has none.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn get(&self, key: ConnectionKey) -> Result<Option<CtEntry>, Error> {
        let found = match key {
            ConnectionKey::V4(key) => self.v4.get(&Abi(key), 0),
            ConnectionKey::V6(key) => self.v6.get(&Abi(key), 0),
        };
        match found {
            Ok(entry) => Ok(Some(entry.0)),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(error("bpf_map_lookup_elem", "np_ct4/6", source)),
        }
    }
}

fn clear<K: Pod>(table: &mut Hash<K, CtEntry>, name: &'static str) -> Result<(), Error> {
    let keys: Result<Vec<Abi<K>>, _> = table.keys().collect();
    for Abi(key) in keys.map_err(|source| error("bpf_map_get_next_key", name, source))? {
        delete(table, &key, name)?;
    }
    Ok(())
}
