use std::sync::Arc;

use netpol_common::{net::proto, policy::RuleId};

use super::{Compiler, ids::Ids, ports::PortSet};
use crate::{
    dataplane::Interface,
    index::Index,
    model::{
        LabelSelector, Labels, Name, Namespaces, Object, Peer, Peers, Pod, PodSelector, Policy, PortRange,
        Ports, Requirement, Rule, Test,
    },
};

fn ranges(list: &[(u16, u16, u64)]) -> Vec<(PortRange, RuleId)> {
    list.iter()
        .map(|(first, last, rule)| {
            (PortRange { proto: proto::TCP, first: *first, last: *last }, RuleId(*rule))
        })
        .collect()
}

/// The rule of a port in a set, by looking at every prefix; `None` if two prefixes claim it.
fn rule_of(set: &PortSet, port: u16) -> Option<u64> {
    let mask = |len: u8| netpol_common::logic::ports::mask(len);
    let mut found = set.prefixes.iter().filter(|p| port & mask(p.prefix.len) == p.prefix.value);
    let first = found.next().map_or(0, |p| p.rule.0);
    found.next().is_none().then_some(first)
}

#[test]
fn overlapping_ranges_become_disjoint_and_the_narrowest_names_the_rule() {
    let list = [(1, 65535, 1), (80, 80, 2), (70, 90, 3), (80, 80, 4), (85, 105, 5), (0, 0, 6)];
    let set = PortSet::of(&ranges(&list));
    for port in 0..=u16::MAX {
        let holding = list.iter().filter(|(first, last, _)| (*first..=*last).contains(&port));
        let narrowest = holding.min_by_key(|(first, last, rule)| (last - first, *rule));
        assert_eq!(rule_of(&set, port), Some(narrowest.map_or(0, |(_, _, rule)| *rule)), "port {port}");
    }
}

#[test]
fn ranges_of_one_rule_merge() {
    let set = PortSet::of(&ranges(&[(0, 32767, 1), (32768, 65535, 1)]));
    assert_eq!(set.prefixes.len(), 1);
    assert_eq!(PortSet::of(&ranges(&[])).prefixes, []);
}

fn labels(value: &str) -> LabelSelector {
    let requirement = Requirement { key: "app".into(), test: Test::In([value.into()].into()) };
    LabelSelector { requirements: Arc::new([requirement].into()) }
}

/// A pod of this node, isolated by a policy that allows twenty selectors.
fn index() -> Index {
    let mut index = Index::new("node1");
    let addr = "10.0.0.1".parse().expect("an address");
    index.interface_up(Interface {
        ifindex: 1,
        name: "veth1".into(),
        netns: "ns1".into(),
        addresses: vec![addr],
        master: 0,
        adopting: false,
    });
    index.apply(Object::Pod(Pod {
        name: Name::new("shop", "db"),
        uid: "".into(),
        created_s: 0,
        node: Some("node1".into()),
        labels: Labels::default(),
        workload: None,
        addresses: vec![addr],
        host_network: false,
        ended: false,
        ready: true,
        terminating: false,
        named_ports: [].into(),
        mirror_of: None,
    }));
    let rule = |i: usize| Rule {
        peers: Peers::Of(vec![Peer::Pods(PodSelector {
            namespaces: Namespaces::Named("shop".into()),
            pods: labels(&format!("app-{i}")),
        })]),
        ports: Ports::Any,
    };
    index.apply(Object::Policy(Policy {
        name: Name::new("shop", "p"),
        uid: String::new(),
        generation: 1,
        mode: None,
        origin: String::new(),
        subject: LabelSelector::default(),
        ingress: Some((0..20).map(rule).collect()),
        egress: None,
    }));
    index
}

#[test]
fn two_contents_under_one_number_are_noticed() {
    let mut index = index();
    let mut compiler = Compiler::with_ids(Ids { mask: 7 });
    let dirty = index.take_dirty();
    compiler.update(&index, dirty);
    let collision = compiler.collision().expect("twenty selectors do not fit into eight numbers");
    assert!(collision.to_string().starts_with("two different contents have the number 0x"));
}

#[test]
fn a_pod_that_ran_before_its_programs_is_marked_as_long_as_discovery_says_so() {
    use netpol_common::endpoint::flags::ADOPTING;
    let mut index = index();
    let mut compiler = Compiler::default();
    for adopting in [true, false] {
        let mut interface = index.interface_of(index.pod(&Name::new("shop", "db")).unwrap()).unwrap().clone();
        interface.adopting = adopting;
        index.interface_up(interface);
        let dirty = index.take_dirty();
        compiler.update(&index, dirty);
        let row = compiler.desired_mut().endpoints.rows().get(&1).copied().unwrap();
        assert_eq!(row.flags & ADOPTING != 0, adopting);
    }
}

#[test]
fn full_numbers_do_not_collide() {
    let mut index = index();
    let mut compiler = Compiler::default();
    let dirty = index.take_dirty();
    compiler.update(&index, dirty);
    assert_eq!(compiler.collision(), None);
    assert_eq!(compiler.desired().endpoints.rows().len(), 1);
}
