use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::{
    dataplane::Interface,
    model::{Manifest, reference},
};
use netpol_common::direction::Direction;

use super::{
    case::CasePod,
    cluster::{Cluster, Key, namespace_object, pod_object},
    family::Family,
    target::{Probe, Seen, Target},
    truth::Ends,
};
use crate::{
    packet::Hook,
    station::{Desired, Ground, Opening, Outcome, Station},
};

/// Source ports begin here; the round is added.
const FIRST_PORT: u16 = 20_000;
/// Room for every connection of a run over the public cases, at a node with all pods and at one with a single pod.
const ALL: u32 = 131_072;
const ONE: u32 = 32_768;
/// Where pods are that a station does not have.
const ELSEWHERE: &str = "elsewhere";

/// Judges each connection three times: on a node that has both pods, which judges both ends in one pass, and each end
/// alone on a node that has no other pod.
pub struct Stage<G: Ground> {
    ground: G,
    together: Station<G::Judge>,
    alone: BTreeMap<Key, Station<G::Judge>>,
    cluster: Cluster,
    family: Family,
}

impl<G: Ground> Stage<G> {
    /// With an empty cluster.
    ///
    /// # Errors
    /// If a dataplane cannot be made.
    pub fn new(mut ground: G) -> Result<Self> {
        let together = Station::new("together", ground.dataplane(ALL)?)?;
        let (alone, cluster) = (BTreeMap::new(), Cluster::default());
        Ok(Self { ground, together, alone, cluster, family: Family::V4 })
    }

    /// The cluster as it looks from the node that has the pods for which `is_here` holds.
    fn seen_from(&mut self, node: &str, is_here: impl Fn(&Key) -> bool) -> Result<Desired> {
        let mut desired = Desired::default();
        let mut add = |manifest: Manifest| desired.objects.insert(reference(&manifest), manifest);
        for (name, labels) in &self.cluster.namespaces {
            add(Manifest::Namespace(Box::new(namespace_object(name, labels))));
        }
        for policy in self.cluster.policies.values() {
            add(Manifest::NetworkPolicy(Box::new(self.family.policy(policy))));
        }
        for (key, pod) in &self.cluster.pods {
            let node = if is_here(key) { node } else { ELSEWHERE };
            add(Manifest::Pod(Box::new(pod_object(pod, self.family, node))));
        }
        for (key, pod) in self.cluster.pods.iter().filter(|(key, _)| is_here(key)) {
            let owner = format!("{}/{}", key.0, key.1);
            desired.interfaces.insert(Interface {
                ifindex: self.ground.interface(&owner)?,
                name: owner.clone(),
                netns: owner,
                addresses: vec![self.family.address(pod.ip)],
                master: 0,
                adopting: false,
            });
        }
        Ok(desired)
    }

    fn probe(&mut self, probe: &Probe<'_>) -> Result<Seen> {
        let src = self.family.address(self.pod(probe.from)?.ip);
        let dst = self.family.address(self.pod(probe.to)?.ip);
        let mut interface = |key: &Key| self.ground.interface(&format!("{}/{}", key.0, key.1));
        let (from, to) = (interface(probe.from)?, interface(probe.to)?);
        let leaving = Opening {
            hook: Hook::FromPod(from),
            src,
            dst,
            protocol: probe.port.protocol,
            sport: FIRST_PORT + probe.round,
            dport: probe.port.port,
        };
        let arriving = Opening { hook: Hook::ToPod(to, self.ground.uplink()), ..leaving };
        let both = self.together.judge(&leaving).context("both ends")?;
        let mut at = |key: &Key, opening| self.alone.get_mut(key).context("no station")?.judge(opening);
        let egress = allows(at(probe.from, &leaving).context("source alone")?)?;
        let ingress = allows(at(probe.to, &arriving).context("destination alone")?)?;
        if let Outcome::Denied { by: direction, .. } = both {
            let first = if egress { Direction::Ingress } else { Direction::Egress };
            ensure!(direction == first, "{leaving:?} is denied for {direction:?} where both ends are judged");
        }
        Ok(Seen { egress: Some(egress), ingress: Some(ingress), combined: Some(allows(both)?) })
    }

    fn pod(&self, key: &Key) -> Result<&CasePod> {
        self.cluster.pods.get(key).with_context(|| format!("no pod {}/{}", key.0, key.1))
    }
}

impl<G: Ground> Target for Stage<G> {
    fn follow(&mut self, cluster: &Cluster, family: Family) -> Result<()> {
        self.cluster = cluster.clone();
        self.family = family;
        let desired = self.seen_from("together", |_| true)?;
        self.together.follow(desired).context("node with all pods")?;
        for key in cluster.pods.keys() {
            if !self.alone.contains_key(key) {
                let station = Station::new(&alone(key), self.ground.dataplane(ONE)?)?;
                self.alone.insert(key.clone(), station);
            }
        }
        let keys: Vec<Key> = self.alone.keys().cloned().collect();
        for key in keys {
            let desired = self.seen_from(&alone(&key), |other| *other == key)?;
            let station = self.alone.get_mut(&key).context("a station of its own")?;
            station.follow(desired).with_context(|| format!("node {}", alone(&key)))?;
        }
        Ok(())
    }

    fn probe_all(&mut self, probes: &[(Probe<'_>, Ends)]) -> Result<Vec<Seen>> {
        probes.iter().map(|(probe, _)| self.probe(probe).with_context(|| format!("{probe:?}"))).collect()
    }
}

fn alone(key: &Key) -> String {
    format!("alone-{}-{}", key.0, key.1)
}

fn allows(outcome: Outcome) -> Result<bool> {
    match outcome {
        Outcome::Forwarded { .. } => Ok(true),
        Outcome::Denied { .. } => Ok(false),
        Outcome::Dropped(reason) => bail!("dropped, but not by policy: {}", reason.name()),
    }
}
