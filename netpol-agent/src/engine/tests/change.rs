//! Changes of policy: no packet meets half of one, wherever it stops.

use std::collections::BTreeMap;

use netpol_common::policy::RuleId;

use super::{Bed, pod, policy};
use crate::dataplane::{
    Op, Rows,
    judge::{Packet, Verdict, judge},
};

const PEERS: [&str; 6] = ["10.0.1.1", "10.0.1.2", "10.0.2.1", "192.168.0.1", "192.168.1.1", "172.16.0.1"];

fn cluster() -> Bed {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]).up(11, &["10.0.0.11"]);
    bed.apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.apply(&pod("shop/db2", "node1", "{app: db}", &["10.0.0.11"], ""));
    bed.apply(&pod("shop/a", "node2", "{app: web, tier: front}", &["10.0.1.1"], ""));
    bed.apply(&pod("shop/b", "node2", "{app: web}", &["10.0.1.2"], ""));
    bed.apply(&pod("ops/c", "node2", "{tier: front}", &["10.0.2.1"], ""));
    bed
}

/// Policies that differ in every way that matters: selectors that overlap, blocks inside blocks, ports, none at all.
fn specs() -> Vec<&'static str> {
    vec![
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {tier: front}}}]}]}",
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {tier: front}}}]}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16}}]}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16, except: [192.168.1.0/24]}}]}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.1.0/24}}], ports: [{port: 80}]}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/30}}]}]}",
        "{podSelector: {}}",
        "{podSelector: {matchLabels: {app: none}}}",
        "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}",
        "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}",
    ]
}

type Verdicts = BTreeMap<(&'static str, &'static str, u16, &'static str), Verdict>;

fn verdicts(rows: &Rows) -> Verdicts {
    let mut all = Verdicts::new();
    for peer in PEERS {
        for own in ["10.0.0.10", "10.0.0.11"] {
            for dport in [80, 81] {
                let packet = |src, dst| Packet { src: super::ip(src), dst: super::ip(dst), proto: 6, dport };
                all.insert((peer, own, dport, "in"), judge(rows, packet(peer, own)).ingress);
                all.insert((own, peer, dport, "out"), judge(rows, packet(own, peer)).egress);
            }
        }
    }
    all
}

/// What a packet can still hold that was read before.
struct InFlight {
    before_all: Verdicts,
    /// The states since the last grace period.
    states: Vec<Rows>,
}

impl InFlight {
    fn begin(rows: &Rows) -> Self {
        Self { before_all: verdicts(rows), states: vec![rows.clone()] }
    }

    fn note(&mut self, op: &Op, rows: &Rows) {
        if *op == Op::AwaitGrace {
            self.states.clear();
        }
        // Of the rows that are read first, the rest does not count.
        if self.states.last().is_none_or(|last| (&last.peers, &last.cidrs) != (&rows.peers, &rows.cidrs)) {
            self.states.push(rows.clone());
        }
    }

    /// What packets get that have read the classes of addresses in an earlier state, and read all else now.
    fn late(&self, now: &Rows) -> Vec<Verdicts> {
        // The last one is what is there now.
        let held = self.states.iter().rev().skip(1).map(|held| Rows {
            peers: held.peers.clone(),
            cidrs: held.cidrs.clone(),
            ..now.clone()
        });
        held.map(|rows| verdicts(&rows)).collect()
    }
}

/// Settles, and holds that each end goes from its old verdict to its new one at once, and never back; and that a packet
/// that is under way meanwhile gets one of the two.
fn settle_watched(bed: &mut Bed, what: &str, mut in_flight: InFlight) {
    let old = verdicts(bed.fake.rows());
    let mut seen = Vec::new();
    let mut late = Vec::new();
    let refusals = bed.settle_with(|op, fake| {
        in_flight.note(op, fake.rows());
        late.extend(in_flight.late(fake.rows()).into_iter().map(|verdicts| (op.clone(), verdicts)));
        seen.push((op.clone(), verdicts(fake.rows())));
    });
    assert_eq!(refusals, [], "{what}");
    let new = verdicts(bed.fake.rows());
    for (op, late) in &late {
        // Packets of an end that nothing isolated may be denied for a moment.
        let isolated = in_flight
            .before_all
            .iter()
            .filter(|(_, before)| **before != Verdict::Allowed(RuleId::NOT_ISOLATED));
        for (key, before) in isolated {
            let ends = [before.is_allowed(), new[key].is_allowed()];
            assert!(ends.contains(&late[key].is_allowed()), "{what}: {key:?}, under way at {op:?}");
        }
    }
    for (key, before) in &old {
        let after = new[key].is_allowed();
        let mut turned = before.is_allowed() == after;
        for (op, between) in &seen {
            let now = between[key].is_allowed();
            assert!(now == after || !turned && now == before.is_allowed(), "{what}: {key:?} after {op:?}");
            turned |= now == after;
        }
    }
}

#[test]
fn every_policy_may_follow_every_other() {
    for (i, from) in specs().into_iter().enumerate() {
        for (j, to) in specs().into_iter().enumerate() {
            let mut bed = cluster();
            bed.apply(&policy("shop/p", from));
            bed.feed(&policy("shop/p", to));
            let in_flight = InFlight::begin(bed.fake.rows());
            settle_watched(&mut bed, &format!("{i} → {j}"), in_flight);
            let mut fresh = cluster();
            fresh.apply(&policy("shop/p", to));
            assert_eq!(bed.fake.rows(), fresh.fake.rows(), "{i} → {j} leaves nothing behind");
        }
    }
}

#[test]
fn a_change_that_stops_anywhere_is_completed_by_the_same_and_by_a_new_agent() {
    let specs = specs();
    for (from, to) in [(0, 1), (3, 4), (4, 6), (1, 11), (6, 7)] {
        for restarts in [false, true] {
            for stop in 0.. {
                let mut bed = cluster();
                bed.apply(&policy("shop/p", specs[from]));
                let old = verdicts(bed.fake.rows());
                bed.feed(&policy("shop/p", specs[to]));
                let mut in_flight = InFlight::begin(bed.fake.rows());
                let ops = bed.engine.plan().ops;
                for op in ops.iter().take(stop) {
                    crate::dataplane::Dataplane::apply(&mut bed.fake, op).expect("an operation");
                    bed.engine.applied(op);
                    in_flight.note(op, bed.fake.rows());
                }
                if restarts {
                    let rows = bed.fake.rows().clone();
                    let mut again = cluster();
                    again.fake = bed.fake;
                    again.engine = crate::engine::Engine::new("node1", super::ROOMY, rows);
                    bed = again;
                    refeed(&mut bed);
                    bed.feed(&policy("shop/p", specs[to]));
                    bed.engine.synced();
                }
                // From wherever it stopped, every end still turns at most once.
                let half = verdicts(bed.fake.rows());
                settle_watched(&mut bed, &format!("{from} → {to} stopped at {stop}"), in_flight);
                let mut fresh = cluster();
                fresh.apply(&policy("shop/p", specs[to]));
                assert_eq!(bed.fake.rows(), fresh.fake.rows(), "{from} → {to} stopped at {stop}");
                let new = verdicts(bed.fake.rows());
                for (key, verdict) in half {
                    let ends = [old[&key].is_allowed(), new[&key].is_allowed()];
                    assert!(ends.contains(&verdict.is_allowed()), "{key:?} stopped at {stop}");
                }
                if stop >= ops.len() {
                    break;
                }
            }
        }
    }
}

/// What `cluster` holds, told to a new engine.
fn refeed(bed: &mut Bed) {
    for (ifindex, addr) in [(10, "10.0.0.10"), (11, "10.0.0.11")] {
        bed.engine.interface_up(super::interface(ifindex, &[addr]));
    }
    bed.feed(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.feed(&pod("shop/db2", "node1", "{app: db}", &["10.0.0.11"], ""));
    bed.feed(&pod("shop/a", "node2", "{app: web, tier: front}", &["10.0.1.1"], ""));
    bed.feed(&pod("shop/b", "node2", "{app: web}", &["10.0.1.2"], ""));
    bed.feed(&pod("ops/c", "node2", "{tier: front}", &["10.0.2.1"], ""));
}

#[test]
fn a_change_ends_with_the_epoch_and_without_one_it_stays() {
    let mut bed = cluster();
    let before = bed.fake.epoch();
    bed.apply(&policy("shop/p", specs()[0]));
    assert!(bed.fake.epoch() > before);
    let before = bed.fake.epoch();
    bed.apply(&policy("shop/p", specs()[0]));
    assert_eq!(bed.fake.epoch(), before);
    assert!(bed.engine.plan().ops.is_empty());
}

#[test]
fn nobody_is_waited_for_before_a_policy_names_another_peer() {
    let mut bed = cluster();
    bed.apply(&policy("shop/p", specs()[0]));
    for to in [8, 1, 8] {
        bed.feed(&policy("shop/p", specs()[to]));
        let mut before_flip = Vec::new();
        let mut flipped = false;
        bed.settle_with(|op, _| {
            flipped |= matches!(op, Op::PutEndpoint(..));
            if !flipped {
                before_flip.push(op.clone());
            }
        });
        assert!(flipped && !before_flip.contains(&Op::AwaitGrace), "→ {to}: {before_flip:?}");
    }
}

#[test]
fn rows_are_swept_only_after_a_grace_period() {
    let mut bed = cluster();
    bed.apply(&policy("shop/p", specs()[0]));
    bed.feed(&policy("shop/p", specs()[8]));
    let mut since_flip = Vec::new();
    bed.settle_with(|op, _| match op {
        Op::PutEndpoint(..) => since_flip.clear(),
        op => since_flip.push(op.clone()),
    });
    let swept = since_flip.iter().position(|op| matches!(op, Op::DeletePolicy(_))).expect("a sweep");
    assert!(since_flip[..swept].contains(&Op::AwaitGrace));
}
