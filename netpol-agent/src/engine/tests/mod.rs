//! The engine on a fake dataplane: YAML in, verdicts and rows out.

mod capacity;
mod change;
mod cluster;
mod detail;
mod effort;
mod ending;
mod golden;
mod incremental;
mod maglev;
mod order;
mod restart;
mod semantics;
mod service_capacity;
mod service_changes;
mod service_ways;
mod services;
mod status;
mod wired;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netpol_common::{net::proto, service::ServiceRow};
use serde::de::DeserializeOwned;

use super::Engine;
use crate::{
    dataplane::{
        Backend, Capacity, Dataplane, Frontend, Interface, Op, Rows,
        fake::Fake,
        judge::{Judgement, Packet, Tables, judge},
    },
    model::{Manifest, ObjectRef, convert},
    plan::Refusal,
};

pub(super) const ROOMY: Capacity = Capacity {
    ports: 4096,
    policy: 4096,
    cidrs: 1024,
    peers: 1024,
    endpoints: 64,
    frontends: 64,
    services: 64,
    backends: 16_384,
    members: 256,
    ranges: 256,
    service_nets: 256,
    cluster: 256,
};

/// An engine for `node1` and the dataplane that it drives.
pub(super) struct Bed {
    pub(super) engine: Engine,
    pub(super) fake: Fake,
}

impl Bed {
    /// Synced, and empty.
    pub(super) fn new() -> Self {
        Self::with(ROOMY)
    }

    pub(super) fn with(capacity: Capacity) -> Self {
        let mut engine = Engine::new("node1", capacity, Rows::default());
        engine.synced();
        Self { engine, fake: Fake::new(capacity) }
    }

    /// The same dataplane under a new engine that knows nothing yet.
    pub(super) fn restart(&mut self) {
        self.engine = Engine::new("node1", self.fake.capacity(), self.fake.read().expect("rows"));
    }

    /// Applies all documents at once, and carries out what follows.
    pub(super) fn apply(&mut self, yaml: &str) -> &mut Self {
        self.feed(yaml);
        self.settle();
        self
    }

    pub(super) fn feed(&mut self, yaml: &str) {
        manifests(yaml).iter().for_each(|manifest| self.engine.apply(convert(manifest, "test.yaml")));
    }

    pub(super) fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> &mut Self {
        self.engine.delete(&ObjectRef { kind: kind.into(), namespace: namespace.into(), name: name.into() });
        self.settle();
        self
    }

    pub(super) fn up(&mut self, ifindex: u32, addresses: &[&str]) -> &mut Self {
        self.engine.interface_up(interface(ifindex, addresses));
        self.settle();
        self
    }

    /// Plans and carries out until nothing is left, and returns how often each map was written.
    pub(super) fn settle(&mut self) -> BTreeMap<&'static str, usize> {
        let refusals = self.settle_with(|_, _| ());
        assert_eq!(refusals, []);
        self.fake.take_counts()
    }

    /// The same, with a look at the dataplane after every operation.
    pub(super) fn settle_with(&mut self, mut look: impl FnMut(&Op, &Fake)) -> Vec<Refusal> {
        for _ in 0..8 {
            let plan = self.engine.plan();
            if plan.ops.is_empty() {
                assert_eq!(
                    self.engine.actual(),
                    self.fake.read().expect("rows"),
                    "the engine knows what is there"
                );
                assert_eq!(self.engine.row_counts(), self.engine.actual().counts(), "and how much of it");
                return plan.refusals;
            }
            for op in &plan.ops {
                self.fake.apply(op).unwrap_or_else(|e| panic!("{op:?}: {e}: {}", e.source));
                self.engine.applied(op);
                look(op, &self.fake);
            }
        }
        panic!("plans do not end");
    }

    pub(super) fn tcp(&self, src: &str, dst: &str, dport: u16) -> Judgement {
        self.judge(src, dst, proto::TCP, dport)
    }

    pub(super) fn judge(&self, src: &str, dst: &str, proto: u8, dport: u16) -> Judgement {
        judge(self.fake.rows(), Packet { src: ip(src), dst: ip(dst), proto, dport })
    }

    /// The rule that allows it at the receiver, as `policy spec.ingress[0]`; its isolation otherwise.
    pub(super) fn ingress_rule(&self, src: &str, dst: &str, dport: u16) -> String {
        match self.tcp(src, dst, dport).ingress {
            crate::dataplane::judge::Verdict::Allowed(rule) => match self.engine.attribution().rule(rule) {
                Some(rule) => format!("{} {}", rule.policy.name, rule.path),
                None => format!("constant {}", rule.0),
            },
            crate::dataplane::judge::Verdict::Denied(slot) => {
                let slot = self.engine.attribution().slot(slot).expect("a slot in force has a name");
                let names: Vec<&str> = slot.policies.iter().map(|p| &*p.name).collect();
                format!("denied by {}", names.join(" "))
            }
            crate::dataplane::judge::Verdict::Pending => "pending".into(),
        }
    }

    /// Who answers under a Service's address, local ones first.
    pub(super) fn backends(&self, addr: &str, port: u16, proto: u8) -> Option<Vec<String>> {
        let backends = self.fake.rows().backends(&Frontend { addr: ip(addr), port, proto })?;
        Some(backends.iter().map(|Backend { addr, port }| format!("{addr}:{port}")).collect())
    }
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn interface(ifindex: u32, addresses: &[&str]) -> Interface {
    Interface {
        ifindex,
        name: format!("veth{ifindex}"),
        netns: format!("ns{ifindex}"),
        addresses: addresses.iter().map(|a| ip(a)).collect(),
        master: 0,
        adopting: false,
    }
}

/// A running pod. `labels` and `more` (of its spec) are YAML in flow style.
pub(super) fn pod(name: &str, node: &str, labels: &str, addresses: &[&str], more: &str) -> String {
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    let ips: Vec<String> = addresses.iter().map(|a| format!("{{ip: '{a}'}}")).collect();
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{namespace: {namespace}, name: {name}, labels: {labels}}}, \
         spec: {{nodeName: {node}, containers: [{{name: c, {more}}}]}}, \
         status: {{phase: Running, podIPs: [{}]}}}}\n---\n",
        ips.join(", ")
    )
}

pub(super) fn policy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
         metadata: {{namespace: {namespace}, name: {name}}}, spec: {spec}}}\n---\n"
    )
}

pub(super) fn manifests(yaml: &str) -> Vec<Manifest> {
    fn read<T: DeserializeOwned>(text: &str) -> Box<T> {
        Box::new(serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }
    let documents = yaml.split("\n---\n").map(str::trim).filter(|text| !text.is_empty());
    documents
        .map(|text| {
            let value: serde_json::Value = *read(text);
            match value["kind"].as_str().expect("a kind") {
                "Namespace" => Manifest::Namespace(read(text)),
                "Node" => Manifest::Node(read(text)),
                "Pod" => Manifest::Pod(read(text)),
                "Service" => Manifest::Service(read(text)),
                "NetworkPolicy" => Manifest::NetworkPolicy(read(text)),
                "EndpointSlice" => Manifest::EndpointSlice(read(text)),
                "ServiceCIDR" => Manifest::ServiceCidr(read(text)),
                other => panic!("kind {other}"),
            }
        })
        .collect()
}

pub(super) fn meta(
    namespace: &str,
    name: &str,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        ..Default::default()
    }
}

/// A set: backends of this node, the row of an empty one, who answers, and whom its Maglev table has for some hashes.
pub(super) type Set = (u32, ServiceRow, Vec<Backend>, Vec<Backend>);

/// What a way into a Service says: both sets, flags, seconds of affinity, and who may go on
/// answering or is let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WayIn {
    pub(super) near: Set,
    pub(super) far: Set,
    pub(super) flags: u32,
    pub(super) affinity: u32,
    pub(super) members: Vec<Backend>,
    pub(super) ranges: Vec<ipnet::IpNet>,
}

/// Rows without what the plan hands out in the order of events: numbers and ranges of Services.
pub(super) fn normal_form(fake: &Fake) -> (Rows, BTreeMap<Frontend, WayIn>) {
    let rows = fake.rows();
    let ways = rows.frontends.iter().map(|(frontend, row)| {
        let set = |number: u32| {
            let service = rows.services.get(&number).copied().unwrap_or_default();
            let empty = if service.n_all() == 0 { service } else { ServiceRow::REFUSE };
            let backends = rows.backends.get(&number).cloned().unwrap_or_default();
            let hashes = (0..16).map(|n| n << 28);
            let chosen = hashes.filter_map(|hash| fake.chosen(number, frontend.addr.is_ipv4(), hash));
            (service.n_local(), empty, backends, chosen.collect())
        };
        let way = WayIn {
            near: set(row.near),
            far: set(row.far),
            flags: row.flags,
            affinity: row.affinity,
            members: rows.members.iter().filter(|m| m.svc == row.svc).map(|m| m.backend).collect(),
            ranges: rows.ranges.iter().filter(|r| r.svc == row.svc).map(|r| r.net).collect(),
        };
        (*frontend, way)
    });
    let ways = ways.collect();
    let svcs: BTreeSet<u32> = rows.frontends.values().map(|row| row.svc).collect();
    let stray = |svc: u32| !svcs.contains(&svc);
    let members = rows.members.iter().filter(|m| stray(m.svc)).copied().collect();
    let ranges = rows.ranges.iter().filter(|r| stray(r.svc)).copied().collect();
    let (frontends, services, backends) = Default::default();
    (Rows { frontends, services, backends, members, ranges, ..rows.clone() }, ways)
}
