use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpol_common::cluster::kind;

use super::{Compiler, Concerned};
use crate::{
    dataplane::ClusterRow,
    index::{ExternalMode, Index},
};

/// The key of this node's own row.
fn nobody(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

impl Compiler {
    /// Says who in the cluster these addresses are, and who the nodes are if that may have changed. Nobody is anybody unless
    /// backends of other nodes answer directly, nor in a family in which this node has no address to send from.
    pub(super) fn compile_cluster(&mut self, concerned: &Concerned, nodes: bool, index: &Index) {
        if !nodes && self.nodes.is_empty() {
            return;
        }
        let mut addresses = concerned.addresses.clone();
        if nodes {
            let old = std::mem::replace(&mut self.nodes, node_rows(index));
            let own =
                |rows: &BTreeMap<IpAddr, ClusterRow>| [true, false].map(|v4| rows.get(&nobody(v4)).copied());
            // Pods have rows only where this node has.
            if own(&old) != own(&self.nodes) {
                addresses.extend(index.all_claimed());
            }
            addresses.extend(old.into_keys().chain(self.nodes.keys().copied()));
        }
        for addr in addresses {
            let pod = || {
                self.nodes.get(&nobody(addr.is_ipv4()))?;
                let owner = index.owner(addr)?;
                let kind = if index.is_local(owner) { kind::HERE } else { kind::POD };
                Some(ClusterRow { kind, addr: None })
            };
            let row = self.nodes.get(&addr).copied().or_else(pod);
            self.desired.cluster.set(addr, row);
        }
    }
}

/// Rows of this node and of the others.
fn node_rows(index: &Index) -> BTreeMap<IpAddr, ClusterRow> {
    if index.external_mode() == ExternalMode::Snat {
        return BTreeMap::new();
    }
    let (own, node_ports) = (index.primary_addresses(), index.node_port_addresses());
    let first = |of: &[IpAddr], v4: bool| of.iter().copied().find(|addr| addr.is_ipv4() == v4);
    let mut rows = BTreeMap::new();
    for v4 in [true, false] {
        let Some(own) = first(&own, v4) else { continue };
        let others = index.nodes().filter(|node| node.name != index.node());
        for addr in others.flat_map(|node| &node.addresses).filter(|addr| addr.is_ipv4() == v4) {
            rows.insert(*addr, ClusterRow { kind: kind::NODE, addr: first(&node_ports, v4) });
        }
        rows.insert(nobody(v4), ClusterRow { kind: kind::OWN, addr: Some(own) });
    }
    rows
}
