//! Who in the cluster an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpol_common::{
    cluster::{ClusterRow4, ClusterRow6},
    names,
    net::{V4, V6},
};

use super::{
    Object,
    table::{Hash, delete, hash, put, read},
};
use crate::dataplane::{ClusterRow, Error, Rows};

/// `np_cluster4` and `np_cluster6`.
pub(super) struct Cluster {
    v4: Hash<V4, ClusterRow4>,
    v6: Hash<V6, ClusterRow6>,
    /// How many rows fit, per family.
    pub(super) room: usize,
}

impl Cluster {
    pub(super) fn new(object: &mut Object) -> Result<Self, Error> {
        let (v4, room) = hash(object, names::CLUSTER4)?;
        Ok(Self { v4, v6: hash(object, names::CLUSTER6)?.0, room })
    }

    /// Adds what the tables hold.
    pub(super) fn read(&self, rows: &mut Rows) -> Result<(), Error> {
        let v4 = read(&self.v4, names::CLUSTER4, |addr| Ipv4Addr::from(addr).into())?;
        rows.cluster.extend(v4.into_iter().map(|(key, ClusterRow4 { kind, addr })| {
            (key, ClusterRow { kind, addr: said(Ipv4Addr::from(addr).into()) })
        }));
        let v6 = read(&self.v6, names::CLUSTER6, |addr| Ipv6Addr::from(addr).into())?;
        rows.cluster.extend(v6.into_iter().map(|(key, ClusterRow6 { kind, addr })| {
            (key, ClusterRow { kind, addr: said(Ipv6Addr::from(addr).into()) })
        }));
        Ok(())
    }

    pub(super) fn put(&mut self, addr: IpAddr, row: &ClusterRow) -> Result<(), Error> {
        let kind = row.kind;
        match addr {
            IpAddr::V4(key) => {
                let addr =
                    row.addr.and_then(|addr| if let IpAddr::V4(addr) = addr { Some(addr) } else { None });
                let row = ClusterRow4 { kind, addr: addr.unwrap_or(Ipv4Addr::UNSPECIFIED).into() };
                put(&mut self.v4, &key.into(), &row, names::CLUSTER4)
            }
            IpAddr::V6(key) => {
                let addr =
                    row.addr.and_then(|addr| if let IpAddr::V6(addr) = addr { Some(addr) } else { None });
                let row = ClusterRow6 { kind, addr: addr.unwrap_or(Ipv6Addr::UNSPECIFIED).into() };
                put(&mut self.v6, &key.into(), &row, names::CLUSTER6)
            }
        }
    }

    pub(super) fn delete(&mut self, addr: IpAddr) -> Result<(), Error> {
        match addr {
            IpAddr::V4(addr) => delete(&mut self.v4, &addr.into(), names::CLUSTER4),
            IpAddr::V6(addr) => delete(&mut self.v6, &addr.into(), names::CLUSTER6),
        }
    }
}

fn said(addr: IpAddr) -> Option<IpAddr> {
    if addr.is_unspecified() { None } else { Some(addr) }
}
