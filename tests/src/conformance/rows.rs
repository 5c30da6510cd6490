use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context, Result, ensure};
use netpol_agent::{
    dataplane::{
        Capacity, Dataplane, Interface, Rows,
        fake::Fake,
        judge::{Judgement, Packet, Verdict, judge},
    },
    engine::Engine,
    model::{Manifest, convert, reference},
};

use super::{
    case::Port,
    cluster::{Cluster, Key, namespace_object, pod_object},
    family::Family,
    target::{Probe, Seen, Target},
    truth::Ends,
};

const NODE: &str = "node1";
const CAPACITY: Capacity = Capacity {
    ports: 4096,
    policy: 4096,
    cidrs: 256,
    peers: 256,
    endpoints: 256,
    frontends: 16,
    services: 16,
    backends: 64,
    members: 64,
    ranges: 64,
    service_nets: 64,
    cluster: 0,
};

/// What is asked of every pair in between: TCP and UDP.
const ASKED: [(u8, u16); 2] = [(6, 80), (17, 81)];

/// The compiler under test: what the rows of a dataplane in memory say. After every single operation each pod must
/// answer as before the change or as after it.
#[derive(Debug)]
pub struct RowsTarget {
    engine: Engine,
    dataplane: Fake,
    cluster: Cluster,
    family: Family,
    interfaces: BTreeMap<Key, u32>,
    /// States in between that were looked at.
    pub states: usize,
}

impl Default for RowsTarget {
    fn default() -> Self {
        let mut engine = Engine::new(NODE, CAPACITY, Rows::default());
        engine.synced();
        Self {
            engine,
            dataplane: Fake::new(CAPACITY),
            cluster: Cluster::default(),
            family: Family::V4,
            interfaces: BTreeMap::new(),
            states: 0,
        }
    }
}

impl RowsTarget {
    fn apply(&mut self, manifest: &Manifest) -> Result<()> {
        self.engine.apply(convert(manifest, "case"));
        self.settle()
    }

    fn delete(&mut self, manifest: &Manifest) -> Result<()> {
        self.engine.delete(&reference(manifest));
        self.settle()
    }

    /// Carries out plans until there is nothing left to do, and judges every pair after every operation.
    fn settle(&mut self) -> Result<()> {
        let mut seen = vec![self.judge_all()];
        loop {
            let plan = self.engine.plan();
            ensure!(plan.refusals.is_empty(), "refused: {:?}", plan.refusals);
            if plan.ops.is_empty() {
                break;
            }
            for op in &plan.ops {
                self.dataplane.apply(op).with_context(|| format!("{op:?}"))?;
                self.engine.applied(op);
                seen.push(self.judge_all());
            }
        }
        ensure!(self.engine.actual() == self.dataplane.read()?, "the engine is wrong about what is there");
        self.states += seen.len();
        let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok(()) };
        for (pair, between) in seen.iter().flatten() {
            let (Some(old), Some(new)) = (first.get(pair), last.get(pair)) else { continue };
            let ends =
                [(between.egress, old.egress, new.egress), (between.ingress, old.ingress, new.ingress)];
            // A pod that comes or goes is closed for a moment.
            let fine = |(now, old, new): (Verdict, Verdict, Verdict)| {
                now == Verdict::Pending || [old, new].iter().any(|v| v.is_allowed() == now.is_allowed())
            };
            ensure!(ends.into_iter().all(fine), "{pair:?}: {between:?} is neither {old:?} nor {new:?}");
        }
        Ok(())
    }

    fn judge_all(&self) -> BTreeMap<(IpAddr, IpAddr, u8, u16), Judgement> {
        let addresses: BTreeSet<IpAddr> =
            self.cluster.pods.values().map(|p| self.family.address(p.ip)).collect();
        let mut all = BTreeMap::new();
        for src in &addresses {
            for dst in &addresses {
                for (proto, dport) in ASKED {
                    let packet = Packet { src: *src, dst: *dst, proto, dport };
                    all.insert((*src, *dst, proto, dport), judge(self.dataplane.rows(), packet));
                }
            }
        }
        all
    }

    fn address(&self, key: &Key) -> Result<IpAddr> {
        let pod = self.cluster.pods.get(key).with_context(|| format!("no pod {key:?}"))?;
        Ok(self.family.address(pod.ip))
    }
}

impl Target for RowsTarget {
    fn follow(&mut self, cluster: &Cluster, family: Family) -> Result<()> {
        if family != self.family {
            *self = Self { family, ..Self::default() };
        }
        let old = std::mem::replace(&mut self.cluster, cluster.clone());
        for (name, labels) in &cluster.namespaces {
            if old.namespaces.get(name) != Some(labels) {
                self.apply(&Manifest::Namespace(Box::new(namespace_object(name, labels))))?;
            }
        }
        for (key, pod) in old.pods.iter().filter(|(key, _)| !cluster.pods.contains_key(*key)) {
            if let Some(ifindex) = self.interfaces.remove(key) {
                self.engine.interface_gone(ifindex);
            }
            self.delete(&Manifest::Pod(Box::new(pod_object(pod, family, NODE))))?;
        }
        for (key, pod) in cluster.pods.iter().filter(|(key, pod)| old.pods.get(*key) != Some(*pod)) {
            let next = self.interfaces.values().max().map_or(10, |last| last + 1);
            let ifindex = *self.interfaces.entry(key.clone()).or_insert(next);
            self.engine.interface_up(Interface {
                ifindex,
                name: format!("veth{ifindex}"),
                netns: format!("{}-{}", key.0, key.1),
                addresses: vec![family.address(pod.ip)],
                master: 0,
                adopting: false,
            });
            self.apply(&Manifest::Pod(Box::new(pod_object(pod, family, NODE))))?;
        }
        for (_, policy) in old.policies.iter().filter(|(key, _)| !cluster.policies.contains_key(*key)) {
            self.delete(&Manifest::NetworkPolicy(Box::new(policy.clone())))?;
        }
        for (key, policy) in &cluster.policies {
            if old.policies.get(key) != Some(policy) {
                self.apply(&Manifest::NetworkPolicy(Box::new(family.policy(policy))))?;
            }
        }
        for (name, labels) in
            old.namespaces.iter().filter(|(name, _)| !cluster.namespaces.contains_key(*name))
        {
            self.delete(&Manifest::Namespace(Box::new(namespace_object(name, labels))))?;
        }
        Ok(())
    }

    fn probe_all(&mut self, probes: &[(Probe<'_>, Ends)]) -> Result<Vec<Seen>> {
        let seen = probes.iter().map(|(probe, _)| {
            let Port { protocol, port, .. } = probe.port;
            let (src, dst) = (self.address(probe.from)?, self.address(probe.to)?);
            let packet = Packet { src, dst, proto: *protocol, dport: *port };
            let judgement = judge(self.dataplane.rows(), packet);
            Ok(Seen {
                egress: Some(judgement.egress.is_allowed()),
                ingress: Some(judgement.ingress.is_allowed()),
                combined: Some(judgement.is_allowed()),
            })
        });
        seen.collect()
    }
}
