//! Interfaces of the node that lead to no pod. What comes in by any other is dropped by the receiver's program, unless it is
//! the interface of a pod whose policy is in place: `docs/adr/0036-by-which-interface.md`.

use std::{collections::BTreeSet, path::Path};

use aya::maps::{HashMap, Map, MapData, MapError};
use netpol_common::names;

use super::{
    Object,
    object::pin_path,
    table::{self, Hash},
};
use crate::dataplane::Error;

/// `np_nopod`.
pub struct NoPods {
    table: Hash<u32, u32>,
    rows: BTreeSet<u32>,
}

impl NoPods {
    /// Takes the map out of a loaded object: for tests and benchmarks, which say by hand which interfaces there are.
    ///
    /// # Errors
    ///
    /// If the object lacks it, or it cannot be read.
    pub fn new(object: &mut Object) -> Result<Self, Error> {
        Self::over(table::hash(object, names::NO_POD)?.0)
    }

    /// With the rows that an agent before left there.
    pub(super) fn open(pins: &Path) -> Result<Self, Error> {
        let open = |source: MapError| table::error("open", names::NO_POD, source);
        let data = MapData::from_pin(pin_path(pins, names::NO_POD)).and_then(Map::from_map_data);
        Self::over(HashMap::try_from(data.map_err(open)?).map_err(open)?)
    }

    fn over(table: Hash<u32, u32>) -> Result<Self, Error> {
        let rows = table::read(&table, names::NO_POD, |ifindex| ifindex)?.into_keys().collect();
        Ok(Self { table, rows })
    }

    /// The interfaces that have a row.
    pub(super) fn rows(&self) -> &BTreeSet<u32> {
        &self.rows
    }

    /// Says whether an interface leads to no pod.
    ///
    /// # Errors
    ///
    /// If the row cannot be written or removed; with [`netpol_common::limits::NO_POD`] rows there is room for no other.
    pub fn set(&mut self, ifindex: u32, leads_to_no_pod: bool) -> Result<(), Error> {
        if self.rows.contains(&ifindex) == leads_to_no_pod {
            return Ok(());
        }
        if leads_to_no_pod {
            table::put(&mut self.table, &ifindex, &0, names::NO_POD)?;
            self.rows.insert(ifindex);
        } else {
            table::delete(&mut self.table, &ifindex, names::NO_POD)?;
            self.rows.remove(&ifindex);
        }
        Ok(())
    }
}
