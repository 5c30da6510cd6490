use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpol_common::{
    endpoint::EndpointRow,
    names,
    peer::{CidrRow, PeerRow},
    policy::{PolicyKey, PolicyRow, PortKey, RuleId},
};

use super::{
    Planner, Refusal,
    track::{Diff, Track},
};

/// Refuses what does not fit.
pub(super) fn fits(map: &'static str, need: usize, capacity: usize) -> Result<(), Refusal> {
    if need > capacity { Err(Refusal::Capacity { map, need, capacity }) } else { Ok(()) }
}

impl Planner {
    /// Whether every map has room at the peak: old rows and new ones together.
    pub(super) fn check_policy_capacity(
        &self,
        ports: &Diff<PortKey, RuleId>,
        rows: &BTreeMap<PolicyKey, PolicyRow>,
        cidrs: &Diff<IpNet, CidrRow>,
        peers: &Diff<IpAddr, PeerRow>,
        endpoints: &Diff<u32, EndpointRow>,
    ) -> Result<(), Refusal> {
        let capacity = &self.capacity;
        check(names::PORT, capacity.ports, &self.ports, ports.puts.iter().map(|(k, _)| k), |_| true)?;
        check(names::POLICY, capacity.policy, &self.policy, rows.keys(), |_| true)?;
        for (map, v4) in [(names::CIDR4, true), (names::CIDR6, false)] {
            let family = |prefix: &IpNet| prefix.addr().is_ipv4() == v4;
            check(map, capacity.cidrs, &self.cidrs, cidrs.puts.iter().map(|(k, _)| k), family)?;
        }
        for (map, v4) in [(names::PEER4, true), (names::PEER6, false)] {
            let family = |addr: &IpAddr| addr.is_ipv4() == v4;
            check(map, capacity.peers, &self.peers, peers.puts.iter().map(|(k, _)| k), family)?;
        }
        // Interfaces that are gone are taken off first.
        let stays = |ifindex: &u32| !endpoints.deletes.contains(ifindex);
        check(names::EP, capacity.endpoints, &self.endpoints, endpoints.puts.iter().map(|(k, _)| k), stays)
    }
}

fn check<'a, K: Ord + Clone + 'a, V: Copy + PartialEq>(
    map: &'static str,
    capacity: usize,
    track: &'a Track<K, V>,
    puts: impl Iterator<Item = &'a K>,
    counts: impl Fn(&K) -> bool,
) -> Result<(), Refusal> {
    let new: BTreeSet<&K> = puts.filter(|key| counts(key) && !track.actual().contains_key(key)).collect();
    // Counted row by row only if it may not fit.
    if new.is_empty() || track.actual().len() + new.len() <= capacity {
        return Ok(());
    }
    fits(map, track.actual().keys().filter(|key| counts(key)).count() + new.len(), capacity)
}
