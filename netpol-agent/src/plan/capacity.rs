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
use crate::dataplane::Capacity;

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
    ) -> Result<(), Refusal> {
        let capacity = &self.capacity;
        check(names::PORT, capacity.ports, &self.ports, ports.puts.iter().map(|(k, _)| k), |_| true)?;
        check(names::POLICY, capacity.policy, &self.policy, rows.keys(), |_| true)?;
        for (map, v4) in [(names::CIDR4, true), (names::CIDR6, false)] {
            let family = |prefix: &IpNet| prefix.addr().is_ipv4() == v4;
            check(map, capacity.cidrs, &self.cidrs, cidrs.puts.iter().map(|(k, _)| k), family)?;
        }
        Ok(())
    }

    /// Takes rows out of a change that find no room and whose absence only closes: a pod without a row in `np_ep` is
    /// pending, and an address without one in `np_peer` is matched by blocks alone. Addresses of this node's pods go first.
    pub(super) fn leave_out(
        &self,
        peers: &mut Diff<IpAddr, PeerRow>,
        endpoints: &mut Diff<u32, EndpointRow>,
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        peers.puts.sort_by_key(|(addr, row)| (row.ifindex == 0, *addr));
        for (map, v4) in [(names::PEER4, true), (names::PEER6, false)] {
            let family = |addr: &IpAddr| addr.is_ipv4() == v4;
            refusals.extend(limit(map, self.capacity.peers, &self.peers, &mut peers.puts, family));
        }
        // Interfaces that are gone are taken off first.
        let gone = &endpoints.deletes;
        let stays = |ifindex: &u32| !gone.contains(ifindex);
        refusals.extend(limit(
            names::EP,
            self.capacity.endpoints,
            &self.endpoints,
            &mut endpoints.puts,
            stays,
        ));
        refusals
    }

    /// How many rows of a policy map are free.
    #[must_use]
    pub fn room(&self, map: &str) -> usize {
        let Capacity { ports, policy, cidrs, .. } = self.capacity;
        let (rows, capacity) = match map {
            names::PORT => (self.ports.actual().len(), ports),
            names::POLICY => (self.policy.actual().len(), policy),
            _ => {
                let family = |prefix: &&IpNet| prefix.addr().is_ipv4() == (map == names::CIDR4);
                (self.cidrs.actual().keys().filter(family).count(), cidrs)
            }
        };
        capacity.saturating_sub(rows)
    }
}

/// Keeps as many new rows as there is room for; the rest stay pending for a later plan.
fn limit<K: Ord + Clone, V: Copy + PartialEq>(
    map: &'static str,
    capacity: usize,
    track: &Track<K, V>,
    puts: &mut Vec<(K, V)>,
    counts: impl Fn(&K) -> bool,
) -> Option<Refusal> {
    if track.actual().len() + puts.len() <= capacity {
        return None;
    }
    let is_new = |key: &K| counts(key) && !track.actual().contains_key(key);
    let new = puts.iter().filter(|(key, _)| is_new(key)).count();
    if new == 0 || track.actual().len() + new <= capacity {
        return None;
    }
    let used = track.actual().keys().filter(|key| counts(key)).count();
    let mut room = capacity.saturating_sub(used);
    if new <= room {
        return None;
    }
    puts.retain(|(key, _)| {
        let stays = !is_new(key) || room > 0;
        room -= usize::from(stays && is_new(key));
        stays
    });
    Some(Refusal::Capacity { map, need: used + new, capacity })
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
