//! Policies of the sizes that `docs/limits.md` promises: compiled by the engine, written into the kernel's maps at their
//! default capacities, and judged by the loaded programs.

use std::{net::IpAddr, time::Instant};

use netpol_agent::{
    dataplane::Interface,
    model::{Manifest, reference},
};
use netpol_common::net::proto;
use netpol_tests::{
    packet::Hook,
    station::{Desired, Ground, KernelGround, KernelJudge, Opening, Outcome, Station},
};
use serde_json::{Value, json};

const POD: [&str; 2] = ["10.0.0.10", "fd0a::10"];

/// A node with one pod that policies of these specs isolate.
struct Node {
    station: Station<KernelJudge>,
    ifindex: u32,
    uplink: u32,
    /// Each packet opens a connection of its own.
    sport: u16,
}

impl Node {
    fn with(title: &str, specs: &[Value]) -> Self {
        let mut ground = KernelGround::enter().expect("a network namespace: this needs root");
        let ifindex = ground.interface("shop/db").unwrap();
        let mut station = Station::new("node1", ground.dataplane(8192).unwrap()).unwrap();
        let pod = json!({
            "metadata": {"name": "db", "namespace": "shop", "labels": {"app": "db"}},
            "spec": {"nodeName": "node1", "containers": []},
            "status": {"phase": "Running", "podIPs": [{"ip": POD[0]}, {"ip": POD[1]}]},
        });
        let mut objects = vec![Manifest::Pod(serde_json::from_value(pod).unwrap())];
        for (n, spec) in specs.iter().enumerate() {
            let policy = json!({"metadata": {"name": format!("p{n:03}"), "namespace": "shop"}, "spec": spec});
            objects.push(Manifest::NetworkPolicy(serde_json::from_value(policy).unwrap()));
        }
        let interface = Interface {
            ifindex,
            name: "pod".into(),
            netns: "pod".into(),
            addresses: POD.map(|text| text.parse().unwrap()).into(),
            master: 0,
            adopting: false,
        };
        let objects = objects.into_iter().map(|object| (reference(&object), object)).collect();
        let began = Instant::now();
        station.follow(Desired { objects, interfaces: [interface].into() }).unwrap();
        let took = began.elapsed();
        let rows = station.check_rows().unwrap();
        println!(
            "{title}: {took:?}; np_policy {}, np_port {}, np_cidr {}, np_peer {}",
            rows.policy.len(),
            rows.ports.len(),
            rows.cidrs.len(),
            rows.peers.len()
        );
        Self { station, ifindex, uplink: ground.uplink(), sport: 10_000 }
    }

    /// Whether the pod receives the first packet of a connection from there.
    fn receives(&mut self, from: &str, protocol: u8, dport: u16) -> bool {
        let src: IpAddr = from.parse().unwrap();
        let dst = POD[usize::from(src.is_ipv6())].parse().unwrap();
        self.sport += 1;
        let hook = Hook::ToPod(self.ifindex, self.uplink);
        let opening = Opening { hook, src, dst, protocol, sport: self.sport, dport };
        match self.station.judge(&opening).unwrap() {
            Outcome::Forwarded { .. } => true,
            Outcome::Denied { .. } => false,
            Outcome::Dropped(reason) => panic!("{opening:?}: {reason:?}"),
        }
    }

    #[track_caller]
    fn check(&mut self, from: &str, protocol: u8, dport: u16, allowed: bool) {
        assert_eq!(self.receives(from, protocol, dport), allowed, "{from} to port {dport} of {protocol}");
    }
}

fn ingress(rules: Vec<Value>) -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules})
}

fn block(cidr: &str) -> Value {
    json!({"ipBlock": {"cidr": cidr}})
}

#[test]
fn a_thousand_rules_of_a_hundred_peers_and_a_hundred_ports() {
    // Rule n: 50 blocks of each family that no other rule has, and ports 1 + 7i + n % 5.
    let v4 = |rule: usize, n: usize| format!("20.{}.{}.0/24", (rule * 50 + n) >> 8, (rule * 50 + n) & 255);
    let v6 = |rule: usize, n: usize| format!("fd00:{:x}::/32", rule * 50 + n);
    let rule = |rule: usize| {
        let peers = (0..50).flat_map(|n| [block(&v4(rule, n)), block(&v6(rule, n))]);
        let ports = (0..100).map(|i| json!({"port": 1 + 7 * i + rule % 5}));
        json!({"from": peers.collect::<Vec<_>>(), "ports": ports.collect::<Vec<_>>()})
    };
    let mut node =
        Node::with("1,000 rules × 100 peers × 100 ports", &[ingress((0..1000).map(rule).collect())]);
    for at in [0, 1, 499, 777, 999] {
        let n = at * 50 + 49;
        let (four, six) = (format!("20.{}.{}.7", n >> 8, n & 255), format!("fd00:{n:x}::7"));
        let first = 1 + u16::try_from(at % 5).unwrap();
        for from in [four, six] {
            node.check(&from, proto::TCP, first, true);
            node.check(&from, proto::TCP, first + 7 * 99, true);
            node.check(&from, proto::TCP, first + 1, false);
            node.check(&from, proto::TCP, first + 7 * 100, false);
            node.check(&from, proto::UDP, first, false);
        }
    }
    node.check("21.0.0.1", proto::TCP, 1, false);
}

#[test]
fn every_port_one_by_one_and_in_ranges() {
    let odd = (0..32_768).map(|n| json!({"port": 2 * n + 1})).collect::<Vec<_>>();
    let rules = vec![
        json!({"from": [block("192.0.2.0/24")], "ports": odd}),
        json!({"from": [block("198.51.100.0/24")], "ports": [{"port": 1, "endPort": 65534}]}),
        json!({"from": [block("203.0.113.0/24")], "ports": [{"port": 1, "endPort": 65535, "protocol": "UDP"}]}),
    ];
    let mut node = Node::with("32,768 odd ports, 1–65534, 1–65535", &[ingress(rules)]);
    for port in (1..=u16::MAX).step_by(997).chain([2, 255, 256, 32_767, 32_768, 65_534, 65_535]) {
        node.check("192.0.2.1", proto::TCP, port, port % 2 == 1);
        node.check("192.0.2.1", proto::UDP, port, false);
        node.check("198.51.100.1", proto::TCP, port, port != 65_535);
        node.check("203.0.113.1", proto::UDP, port, true);
        node.check("203.0.113.1", proto::TCP, port, false);
    }
}

#[test]
fn ten_thousand_blocks() {
    // Every other /24 of 30.0.0.0/8, and of each the last address taken out.
    let blocks = (0..10_000).map(|n: usize| {
        let net = 2 * n;
        let (a, b) = (net >> 8, net & 255);
        json!({"ipBlock": {"cidr": format!("30.{a}.{b}.0/24"), "except": [format!("30.{a}.{b}.255/32")]}})
    });
    let rules = vec![json!({"from": blocks.collect::<Vec<_>>(), "ports": [{"port": 80}]})];
    let mut node = Node::with("10,000 blocks, each with an exception", &[ingress(rules)]);
    for net in (0..20_010).step_by(333).chain([19_998, 19_999, 20_000]) {
        let at = |last: u8| format!("30.{}.{}.{last}", net >> 8, net & 255);
        let listed = net % 2 == 0 && net < 20_000;
        node.check(&at(1), proto::TCP, 80, listed);
        node.check(&at(1), proto::TCP, 81, false);
        node.check(&at(255), proto::TCP, 80, false);
    }
}

#[test]
fn five_hundred_policies_on_one_pod() {
    // Policy n lets its own block reach its own port; block 500 is in all of them.
    let specs: Vec<Value> = (0..500)
        .map(|n: usize| {
            let own = format!("40.{}.{}.0/24", n >> 8, n & 255);
            ingress(vec![json!({"from": [block(&own), block("50.0.0.0/8")], "ports": [{"port": 1000 + n}]})])
        })
        .collect();
    let mut node = Node::with("500 policies on one pod", &specs);
    for n in (0..500_u16).step_by(31).chain([499]) {
        let own = format!("40.{}.{}.9", n >> 8, n & 255);
        node.check(&own, proto::TCP, 1000 + n, true);
        node.check(&own, proto::TCP, 1000 + (n + 1) % 500, false);
        node.check("50.1.2.3", proto::TCP, 1000 + n, true);
    }
    node.check("50.1.2.3", proto::TCP, 1500, false);
    node.check("60.1.2.3", proto::TCP, 1000, false);
}
