use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpol_common::{
    endpoint::EndpointRow,
    peer::{CidrRow, PeerRow},
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, PortSetId, SlotId},
};

use super::{Planner, Refusal, grace::Turn, join, track::Diff};
use crate::{compile::Desired, dataplane::Op};

/// The change of policy, in three parts.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Until every pod has its new rules.
    pub(super) change: Vec<Op>,
    /// From classes that are good for old and new rules to the final ones; alters no verdict.
    pub(super) settle: Vec<Op>,
    /// What nothing names any more.
    pub(super) sweep: Vec<Op>,
    /// Pods turn while addresses move. Packets that hold old classes are waited for in the end, so that nobody has to before
    /// the pods turn again.
    pub(super) turns: bool,
    /// Rows of pods that found no room: those pods stay closed, or are nobody's peers.
    pub(super) left_out: Vec<Refusal>,
}

/// An address or prefix that gets another class.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Move {
    pub(super) from: ClassId,
    pub(super) to: ClassId,
}

impl Planner {
    pub(super) fn plan_policy(&mut self, desired: &Desired) -> Result<Steps, Refusal> {
        let ports = self.ports.diff(desired.ports.rows());
        let policy = self.policy.diff(desired.policy.rows());
        let cidrs = self.cidrs.diff(desired.cidrs.rows());
        let mut peers = self.peers.diff(desired.peers.rows());
        let mut endpoints = self.endpoints.diff(desired.endpoints.rows());
        let left_out = self.leave_out(&mut peers, &mut endpoints);

        let leaving = self.leaving(desired, &endpoints);
        let mut rows: BTreeMap<PolicyKey, PolicyRow> = policy.puts.iter().copied().collect();
        let moves = if leaving.is_empty() { BTreeSet::new() } else { self.moves(desired, &cidrs, &peers) };
        let ways = self.join(desired, &leaving, &moves, &mut rows);

        self.check_policy_capacity(&ports, &rows, &cidrs)?;
        let mut steps = Steps { left_out, ..Steps::default() };
        steps.change.extend(endpoints.deletes.iter().map(|ifindex| Op::DeleteEndpoint(*ifindex)));
        steps.change.extend(ports.puts.iter().map(|(key, rule)| Op::PutPort(*key, *rule)));
        steps.change.extend(rows.iter().map(|(key, row)| Op::PutPolicy(*key, *row)));
        if leaving.is_empty() {
            reclassify(&mut steps.change, &peers, &cidrs);
        } else {
            self.reclassify_in_two(desired, &ways, &mut steps, &peers, &cidrs);
            let way = |m: &Move| Move { from: m.from, to: ways.get(m).copied().unwrap_or(m.to) };
            let moves: Vec<Move> = moves.iter().map(way).collect();
            if self.must_wait(desired, &Turn { endpoints: &endpoints, moves: &moves, rows: &rows }) {
                steps.change.push(Op::AwaitGrace);
            }
        }
        let known = |(ifindex, _): &(u32, EndpointRow)| self.endpoints.actual().contains_key(ifindex);
        let moved = !(peers.is_empty() && cidrs.is_empty());
        steps.turns = moved && endpoints.puts.iter().any(known);
        steps.change.extend(endpoints.puts.iter().map(|(ifindex, row)| Op::PutEndpoint(*ifindex, *row)));
        let joined = rows.keys().filter(|key| !desired.policy.rows().contains_key(key));
        let stale: BTreeSet<PolicyKey> = policy.deletes.iter().chain(joined).copied().collect();
        steps.sweep.extend(stale.into_iter().map(Op::DeletePolicy));
        steps.sweep.extend(ports.deletes.iter().map(|key| Op::DeletePort(*key)));
        Ok(steps)
    }

    /// What is done although the rest is refused, and only takes away: interfaces without a pod are closed, an address
    /// that has passed on leaves its rights behind, and rows that no packet can find make room.
    pub(super) fn withdraw(&mut self, desired: &Desired) -> Steps {
        let endpoints = self.endpoints.diff(desired.endpoints.rows());
        let change = endpoints.deletes.into_iter().map(Op::DeleteEndpoint);
        let passed_on = desired.passed_on.iter().filter(|addr| self.peers.actual().contains_key(addr));
        let change = change.chain(passed_on.map(|addr| Op::DeletePeer(*addr))).collect();
        let (rows, ports) = self.out_of_reach(desired);
        let sweep = rows.into_iter().map(Op::DeletePolicy).chain(ports.into_iter().map(Op::DeletePort));
        Steps { change, sweep: sweep.collect(), ..Steps::default() }
    }

    /// Rows that are not wanted, of slots that no endpoint has or classes that no address has, and port sets that only
    /// such rows name.
    fn out_of_reach(&mut self, desired: &Desired) -> (BTreeSet<PolicyKey>, Vec<PortKey>) {
        let slots: BTreeSet<SlotId> =
            self.endpoints.actual().values().flat_map(|row| [row.slot_in, row.slot_out]).collect();
        let unread = |key: &PolicyKey| {
            let classless = key.class != ClassId::ANY && !self.class_uses.contains_key(&key.class);
            classless || !slots.contains(&key.slot)
        };
        let rows = self.policy.diff(desired.policy.rows()).deletes;
        let rows: BTreeSet<PolicyKey> = rows.into_iter().filter(unread).collect();
        let left = self.policy.actual().iter().filter(|(key, _)| !rows.contains(key));
        let named: BTreeSet<PortSetId> = left.map(|(_, row)| row.ports).collect();
        let mut ports = self.ports.diff(desired.ports.rows()).deletes;
        ports.retain(|key| !named.contains(&key.ports));
        (rows, ports)
    }

    /// The slots that pods will leave and that are not wanted any more. Until the last pod has left, they must answer
    /// as before.
    fn leaving(&self, desired: &Desired, endpoints: &Diff<u32, EndpointRow>) -> BTreeSet<SlotId> {
        let old = endpoints.puts.iter().filter_map(|(ifindex, _)| self.endpoints.actual().get(ifindex));
        let mut leaving: BTreeSet<SlotId> = old.flat_map(|row| [row.slot_in, row.slot_out]).collect();
        leaving.remove(&SlotId::NONE);
        if !leaving.is_empty() {
            for row in desired.endpoints.rows().values() {
                leaving.remove(&row.slot_in);
                leaving.remove(&row.slot_out);
            }
        }
        leaving
    }

    /// Who gets another class.
    fn moves(
        &self,
        desired: &Desired,
        cidrs: &Diff<IpNet, CidrRow>,
        peers: &Diff<IpAddr, PeerRow>,
    ) -> BTreeSet<Move> {
        let of_peers = peers.puts.iter().map(|(addr, _)| addr).chain(&peers.deletes);
        let of_peers = of_peers.map(|addr| self.peer_move(desired, *addr));
        let of_cidrs = cidrs.puts.iter().map(|(prefix, _)| prefix).chain(&cidrs.deletes);
        let of_cidrs = of_cidrs.map(|prefix| self.cidr_move(desired, prefix));
        of_peers.chain(of_cidrs).filter(|m| m.from != m.to).collect()
    }

    fn peer_move(&self, desired: &Desired, addr: IpAddr) -> Move {
        let class = |peers: &BTreeMap<IpAddr, PeerRow>, cidrs: &BTreeMap<IpNet, CidrRow>| {
            peers.get(&addr).map_or_else(|| join::longest(cidrs, IpNet::from(addr)), |row| row.class)
        };
        Move {
            from: class(self.peers.actual(), self.cidrs.actual()),
            to: class(desired.peers.rows(), desired.cidrs.rows()),
        }
    }

    fn cidr_move(&self, desired: &Desired, prefix: &IpNet) -> Move {
        let class = |cidrs: &BTreeMap<IpNet, CidrRow>| join::longest(cidrs, *prefix);
        Move { from: class(self.cidrs.actual()), to: class(desired.cidrs.rows()) }
    }

    /// First to classes that old and new slots understand, later to the final ones.
    fn reclassify_in_two(
        &self,
        desired: &Desired,
        ways: &BTreeMap<Move, ClassId>,
        steps: &mut Steps,
        peers: &Diff<IpAddr, PeerRow>,
        cidrs: &Diff<IpNet, CidrRow>,
    ) {
        let way = |m: Move| ways.get(&m).copied().unwrap_or(m.to);
        let mut last_peers = Diff { puts: Vec::new(), deletes: peers.deletes.clone() };
        let mut first_peers = Vec::new();
        for (addr, row) in &peers.puts {
            let class = way(self.peer_move(desired, *addr));
            first_peers.push(Op::PutPeer(*addr, PeerRow { class, ..*row }));
            if class != row.class {
                last_peers.puts.push((*addr, *row));
            }
        }
        for addr in &peers.deletes {
            let m = self.peer_move(desired, *addr);
            let old = self.peers.actual().get(addr).filter(|_| m.from != m.to);
            first_peers.extend(old.map(|old| Op::PutPeer(*addr, PeerRow { class: way(m), ..*old })));
        }
        let mut last_cidrs = Diff { puts: Vec::new(), deletes: cidrs.deletes.clone() };
        let mut first_cidrs = Vec::new();
        for (prefix, row) in &cidrs.puts {
            let class = way(self.cidr_move(desired, prefix));
            first_cidrs.push((*prefix, CidrRow { class }));
            if class != row.class {
                last_cidrs.puts.push((*prefix, *row));
            }
        }
        for prefix in &cidrs.deletes {
            let m = self.cidr_move(desired, prefix);
            if m.from != m.to {
                first_cidrs.push((*prefix, CidrRow { class: way(m) }));
            }
        }
        steps.change.extend(first_peers);
        put_cidrs(&mut steps.change, &first_cidrs);
        reclassify(&mut steps.settle, &last_peers, &last_cidrs);
    }
}

/// Gives addresses and prefixes their classes, each in one step from old to new, wherever one lies inside another:
/// the inner row is written before the outer one, and the outer one removed before the inner one.
fn reclassify(ops: &mut Vec<Op>, peers: &Diff<IpAddr, PeerRow>, cidrs: &Diff<IpNet, CidrRow>) {
    ops.extend(peers.puts.iter().map(|(addr, row)| Op::PutPeer(*addr, *row)));
    put_cidrs(ops, &cidrs.puts);
    let mut deletes = cidrs.deletes.clone();
    deletes.sort_by_key(IpNet::prefix_len);
    ops.extend(deletes.into_iter().map(Op::DeleteCidr));
    ops.extend(peers.deletes.iter().map(|addr| Op::DeletePeer(*addr)));
}

fn put_cidrs(ops: &mut Vec<Op>, puts: &[(IpNet, CidrRow)]) {
    let mut puts = puts.to_vec();
    puts.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
    ops.extend(puts.into_iter().map(|(prefix, row)| Op::PutCidr(prefix, row)));
}
