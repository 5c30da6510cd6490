//! `np_uplink`: the interfaces that lead out of the node, which are those that have the programs for traffic from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use aya::maps::{HashMap, Map, MapData, MapError};
use netpol_common::{names, uplink::UplinkRow};

use super::{
    DiscoverError, Object,
    across::Interface,
    links::Links,
    netlink::Netlink,
    object::pin_path,
    table::{self, Hash},
    ways_out::{self, UplinkOptions, WayOut},
    xdp::{Candidate, Xdp},
};
use crate::dataplane::Error;

/// The table, and what it holds.
pub struct Uplinks {
    table: Hash<u32, UplinkRow>,
    rows: BTreeMap<u32, UplinkRow>,
    /// Of those that have programs.
    names: BTreeMap<u32, String>,
    options: UplinkOptions,
    /// Absent where interfaces are said by hand.
    xdp: Option<Xdp>,
    /// Something has happened that can make an interface an uplink, or no longer one.
    dirty: bool,
}

impl Uplinks {
    /// Takes the map out of a loaded object: for tests and benchmarks, which say by hand which interfaces there are.
    ///
    /// # Errors
    ///
    /// If the object lacks it, or it cannot be read.
    pub fn new(object: &mut Object) -> Result<Self, Error> {
        Self::over(table::hash(object, names::UPLINK)?.0, UplinkOptions::default(), None)
    }

    /// With the rows that an agent before left there.
    pub(super) fn open(pins: &Path, options: UplinkOptions, xdp: Xdp) -> Result<Self, Error> {
        let open = |source: MapError| table::error("open", names::UPLINK, source);
        let data = MapData::from_pin(pin_path(pins, names::UPLINK)).and_then(Map::from_map_data);
        Self::over(HashMap::try_from(data.map_err(open)?).map_err(open)?, options, Some(xdp))
    }

    fn over(table: Hash<u32, UplinkRow>, options: UplinkOptions, xdp: Option<Xdp>) -> Result<Self, Error> {
        let rows = table::read(&table, names::UPLINK, |ifindex| ifindex)?;
        Ok(Self { table, rows, names: BTreeMap::new(), options, xdp, dirty: true })
    }

    /// Those that have programs.
    pub(super) fn all(&self) -> impl Iterator<Item = Interface<'_>> {
        self.names.iter().map(|(ifindex, name)| Interface { ifindex: *ifindex, name })
    }

    /// Says what an uplink is like.
    ///
    /// # Errors
    ///
    /// If the row cannot be written.
    pub fn put(&mut self, ifindex: u32, row: UplinkRow) -> Result<(), Error> {
        if self.rows.get(&ifindex) != Some(&row) {
            table::put(&mut self.table, &ifindex, &row, names::UPLINK)?;
            self.rows.insert(ifindex, row);
        }
        Ok(())
    }

    fn delete(&mut self, ifindex: u32) -> Result<(), Error> {
        table::delete(&mut self.table, &ifindex, names::UPLINK)?;
        self.rows.remove(&ifindex);
        self.names.remove(&ifindex);
        Ok(())
    }

    /// Has the next [`Uplinks::settle`] look.
    pub(super) fn note(&mut self) {
        self.dirty = true;
    }

    /// From now on XDP programs of other versions are replaced.
    pub(super) fn let_in(&mut self) {
        self.note();
        if let Some(xdp) = &mut self.xdp {
            xdp.let_in();
        }
    }

    /// Has the programs on every uplink that there is now, and on no other interface. A row comes before the programs and
    /// goes after them, so that no program is ever without its row, nor left behind by an agent that died in between.
    pub(super) fn settle(
        &mut self,
        netlink: &mut Netlink,
        links: &mut Links,
        no_pods: &BTreeSet<u32>,
    ) -> Result<(), DiscoverError> {
        if !self.dirty {
            return Ok(());
        }
        let found = ways_out::find(netlink, &self.options, no_pods)?;
        let gone: Vec<u32> =
            self.rows.keys().copied().filter(|ifindex| !found.contains_key(ifindex)).collect();
        for ifindex in gone {
            if let Some(xdp) = &mut self.xdp {
                xdp.detach(ifindex);
            }
            links.detach_uplink(ifindex)?;
            self.delete(ifindex)?;
            tracing::info!(ifindex, "no uplink any more");
        }
        for (ifindex, WayOut { name, is_veth, mac, row }) in found {
            let new = !self.rows.contains_key(&ifindex);
            self.put(ifindex, row)?;
            if !links.is_uplink(ifindex) {
                links.attach_uplink(ifindex)?;
            }
            // After the programs that do what it leaves.
            if let Some(xdp) = &mut self.xdp {
                xdp.attach(Candidate { ifindex, name: &name, is_veth, mac });
            }
            if new {
                tracing::info!(ifindex, name, "an uplink");
            }
            self.names.insert(ifindex, name);
        }
        self.dirty = false;
        Ok(())
    }
}
