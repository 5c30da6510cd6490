use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::IpAddr,
};

use ipnet::IpNet;
use netpol_common::{
    endpoint::EndpointRow,
    peer::{CidrRow, PeerRow},
    policy::{PolicyKey, PolicyRow, PortKey, RuleId},
};

use super::{Balanced, PortOfService};
use crate::dataplane::ClusterRow;

/// What is wanted of one map, and which rows were touched since the last look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table<K, V> {
    rows: BTreeMap<K, V>,
    touched: BTreeSet<K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq> Table<K, V> {
    /// Wants a row, or wants it gone.
    pub fn set(&mut self, key: K, row: Option<V>) {
        let changed = match row {
            Some(row) => match self.rows.entry(key.clone()) {
                Entry::Occupied(mut entry) => {
                    let differs = *entry.get() != row;
                    if differs {
                        entry.insert(row);
                    }
                    differs
                }
                Entry::Vacant(entry) => {
                    entry.insert(row);
                    true
                }
            },
            None => self.rows.remove(&key).is_some(),
        };
        if changed {
            self.touched.insert(key);
        }
    }
    /// The rows that are wanted.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<K, V> {
        &self.rows
    }
    /// Keys of rows that were written or removed since the last call.
    pub fn take_touched(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.touched)
    }
}

/// What is wanted of the dataplane, apart from row numbers and ranges, which the plan hands out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Desired {
    /// `np_port`
    pub ports: Table<PortKey, RuleId>,
    /// `np_policy`
    pub policy: Table<PolicyKey, PolicyRow>,
    /// `np_cidr4`, `np_cidr6`
    pub cidrs: Table<IpNet, CidrRow>,
    /// `np_peer4`, `np_peer6`
    pub peers: Table<IpAddr, PeerRow>,
    /// `np_ep`
    pub endpoints: Table<u32, EndpointRow>,
    /// Addresses that have lost their owner, or have another one, since the policy tables were last planned without
    /// refusal.
    pub passed_on: BTreeSet<IpAddr>,
    /// Ports of Services: `np_fe4`, `np_fe6`, `np_svc`, `np_be4`, `np_be6`, `np_member4`, `np_member6`, `np_range4`,
    /// `np_range6`
    pub services: Table<PortOfService, Box<Balanced>>,
    /// Cluster addresses, of which what is no port of a Service is refused: `np_fe4`, `np_fe6`
    pub whole: Table<IpAddr, ()>,
    /// `np_svcnet4`, `np_svcnet6`
    pub service_nets: Table<IpNet, ()>,
    /// `np_cluster4`, `np_cluster6`
    pub cluster: Table<IpAddr, ClusterRow>,
}
