//! Observations, judged by the reference evaluator.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Node, NodeAddress, NodeStatus, Pod, PodIP, PodSpec, PodStatus},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    labels::lasting,
    observation::{Observation, ObservedParty},
};
use crate::{
    model::Labels,
    oracle::{self, Judgement, Party, Question, Unanswerable, World, namespace_in},
};

/// Puts the pods as they were seen into a world of their own, with the policies that can have a say. The evaluator reads everything
/// that it is given for each question, so it is given little.
pub(super) struct Judge<'w> {
    world: &'w World,
    policies: &'w [NetworkPolicy],
    pods: HashMap<(String, BTreeMap<String, String>), Vec<&'w Pod>>,
    worlds: HashMap<[Option<Arc<str>>; 2], World>,
}

impl<'w> Judge<'w> {
    /// Of the cluster `world`, under these policies instead of its own.
    pub(super) fn new(world: &'w World, policies: &'w [NetworkPolicy]) -> Self {
        let mut pods: HashMap<_, Vec<_>> = HashMap::new();
        for pod in world.pods.iter().filter(|pod| oracle::is_live(pod) && oracle::has_own_network(pod)) {
            let labels = lasting(&Labels::new(oracle::labels_of(pod)));
            pods.entry((oracle::namespace_of(pod).to_owned(), labels)).or_default().push(pod);
        }
        Self { world, policies, pods, worlds: HashMap::new() }
    }

    /// What the connections of an observation would meet.
    ///
    /// # Errors
    /// If the evaluator does not understand the question.
    pub(super) fn judge(&mut self, seen: &Observation) -> Result<Judgement, Unanswerable> {
        let Observation { node, source, destination, protocol, port, .. } = seen;
        let namespaces = [source.namespace.clone(), destination.namespace.clone()];
        // Pods of this node are reached by its own processes whatever policies say.
        let pods = [source, destination].into_iter().filter_map(|party| self.pod(party, node)).collect();
        let world = match self.worlds.remove(&namespaces) {
            Some(world) => world,
            None => self.excerpt(&namespaces),
        };
        let nodes = source.node.iter().map(|name| node_at(name, source)).collect();
        let world = World { pods, nodes, ..world };
        let from = match &source.node {
            Some(name) if source.namespace.is_none() => Party::Node(name.to_string()),
            _ => party(source),
        };
        let question = Question {
            from,
            to: party(destination),
            family: seen.family(),
            protocol: *protocol,
            port: *port,
        };
        let answer = oracle::judge(&world, &question);
        self.worlds.insert(namespaces, world);
        answer
    }

    /// The namespaces with their policies.
    fn excerpt(&self, namespaces: &[Option<Arc<str>>; 2]) -> World {
        let concerned = |name: &str| namespaces.iter().flatten().any(|namespace| **namespace == *name);
        let of_these = |policies: &[NetworkPolicy]| {
            policies.iter().filter(|policy| concerned(namespace_in(&policy.metadata))).cloned().collect()
        };
        let named = self.world.namespaces.iter();
        World {
            namespaces: named
                .filter(|ns| ns.metadata.name.as_deref().is_some_and(concerned))
                .cloned()
                .collect(),
            policies: of_these(self.policies),
            kept: of_these(&self.world.kept),
            closed: self
                .world
                .closed
                .iter()
                .filter(|(name, _)| concerned(&name.namespace))
                .cloned()
                .collect(),
            audit: self.world.audit,
            ..World::default()
        }
    }

    /// Pods of the world that stand for the one that was seen: their labels differ in none that lasts.
    pub(super) fn stand_ins(&self, namespace: &str, labels: &BTreeMap<String, String>) -> &[&'w Pod] {
        let key = (namespace.to_owned(), labels.clone());
        self.pods.get(&key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The pod as it was seen; the ports of its containers are those of itself, else of one like it that is there now.
    fn pod(&self, seen: &ObservedParty, node: &Arc<str>) -> Option<Pod> {
        let (namespace, name) = (seen.namespace.as_ref()?, seen.pod.as_ref()?);
        let alike = self.stand_ins(namespace, &lasting(&seen.labels));
        let own = alike.iter().find(|pod| oracle::name_of(pod) == &**name);
        let spec = own.or(alike.first()).and_then(|pod| pod.spec.clone()).unwrap_or_default();
        Some(Pod {
            metadata: ObjectMeta {
                name: Some(name.to_string()),
                namespace: Some(namespace.to_string()),
                labels: Some(seen.labels.to_map()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec { node_name: Some(node.to_string()), ..spec }),
            status: Some(PodStatus {
                phase: Some("Running".to_owned()),
                pod_ips: Some(vec![PodIP { ip: seen.address.to_string() }]),
                ..PodStatus::default()
            }),
        })
    }
}

fn node_at(name: &Arc<str>, party: &ObservedParty) -> Node {
    let address = NodeAddress { address: party.address.to_string(), type_: "InternalIP".to_owned() };
    Node {
        metadata: ObjectMeta { name: Some(name.to_string()), ..ObjectMeta::default() },
        status: Some(NodeStatus { addresses: Some(vec![address]), ..NodeStatus::default() }),
        ..Node::default()
    }
}

fn party(seen: &ObservedParty) -> Party {
    match (&seen.namespace, &seen.pod) {
        (Some(namespace), Some(pod)) => {
            Party::Pod { namespace: namespace.to_string(), name: pod.to_string() }
        }
        _ => Party::Address(seen.address),
    }
}
