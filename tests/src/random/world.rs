use std::{collections::BTreeMap, fmt};

use anyhow::Result;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use netpol_agent::{
    dataplane::Interface,
    model::{Manifest, reference},
    oracle::World,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{policy::policy, selector::labels, service::service};
use crate::station::{Desired, Ground};

/// The node under test.
pub const HERE: &str = "here";
/// Another node.
pub(super) const THERE: &str = "there";

pub(super) const NAMESPACES: [&str; 3] = ["n0", "n1", "n2"];
/// Pods per world at most. Their numbers are a part of their addresses.
pub(super) const PODS: usize = 7;

pub(super) fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the generators make what the API's types can hold")
}

/// A world that prints as the objects were written, without the fields that nobody set.
#[derive(Clone)]
pub(crate) struct Scene(pub(crate) World);

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let World { namespaces, nodes, pods, policies, services, slices, .. } = &self.0;
        let objects = json!([namespaces, nodes, pods, policies, services, slices]);
        for object in objects.as_array().into_iter().flatten().filter_map(Value::as_array).flatten() {
            writeln!(f, "{object}")?;
        }
        Ok(())
    }
}

/// A cluster with two nodes, up to seven pods, six policies and three Services.
pub(crate) fn world() -> impl Strategy<Value = Scene> {
    let namespaces = [namespace(0), namespace(1), namespace(2)];
    let pods: Vec<_> = (0..PODS).map(|number| option::weighted(0.8, pod(number))).collect();
    let services = [0, 1, 2].map(|number| option::weighted(0.5, service(number)));
    (namespaces, pods, vec(policy(), 0..=6), services).prop_map(|(namespaces, pods, policies, services)| {
        let (services, slices): (Vec<_>, Vec<_>) = services.into_iter().flatten().unzip();
        // Of two policies with one name the later is in force.
        let by_name: BTreeMap<_, _> = policies
            .into_iter()
            .map(|p| ((p.metadata.namespace.clone(), p.metadata.name.clone()), p))
            .collect();
        Scene(World {
            namespaces: namespaces.into_iter().flatten().collect(),
            nodes: vec![node(HERE, 1), node(THERE, 2)],
            pods: pods.into_iter().flatten().collect(),
            policies: by_name.into_values().collect(),
            services,
            slices: slices.into_iter().flatten().collect(),
            ..World::default()
        })
    })
}

/// A namespace may be known by its pods only.
fn namespace(number: usize) -> impl Strategy<Value = Option<Namespace>> {
    option::weighted(0.8, labels()).prop_map(move |labels| {
        let name = NAMESPACES[number];
        labels.map(|labels| {
            object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
        })
    })
}

fn node(name: &str, number: usize) -> Node {
    let addresses = node_addresses(number).map(|address| json!({"type": "InternalIP", "address": address}));
    object(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": format!("zone-{number}")}},
        "status": {"addresses": addresses}
    }))
}

fn node_addresses(number: usize) -> [String; 2] {
    [format!("192.168.0.{number}"), format!("fd01::{number}")]
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Own,
    HostNetwork,
    /// Ended; its address may be another pod's by now.
    Ended {
        address: usize,
    },
}

/// Number `number`; its number is a part of its name and addresses.
pub(super) fn pod(number: usize) -> impl Strategy<Value = Pod> {
    let kind = prop_oneof![
        10 => Just(Kind::Own),
        1 => Just(Kind::HostNetwork),
        1 => (0..PODS).prop_map(|address| Kind::Ended { address }),
    ];
    let families = select(vec![[true, true], [true, true], [true, false], [false, true]]);
    let containers = vec(vec(container_port(), 0..=3), 1..=2);
    let init = option::weighted(0.2, (container_port(), any::<bool>()));
    // Nothing said of it, ready, not ready; and whether it is about to end.
    let ready = select(vec![None, None, Some("True"), Some("False")]);
    let state = (ready, option::weighted(0.15, Just("2026-01-01T00:00:00Z")));
    (select(&NAMESPACES[..]), labels(), select(vec![1usize, 1, 2]), kind, families, containers, init, state)
        .prop_map(move |(namespace, labels, node, kind, families, containers, init, (ready, ends))| {
            let conditions = ready.map(|status| json!([{"type": "Ready", "status": status}]));
            let own = |number: usize| [format!("10.0.{node}.{number}"), format!("fd00:{node}::{number}")];
            let (addresses, phase) = match kind {
                Kind::Own => (own(number), "Running"),
                Kind::HostNetwork => (node_addresses(node), "Running"),
                Kind::Ended { address } => (own(address), "Succeeded"),
            };
            let has = addresses.into_iter().zip(families).filter_map(|(address, has)| has.then_some(address));
            let ips: Vec<Value> = has.map(|ip| json!({"ip": ip})).collect();
            let containers: Vec<Value> = containers
                .into_iter()
                .enumerate()
                .map(|(i, ports)| json!({"name": format!("c{i}"), "ports": ports}))
                .collect();
            let init: Vec<Value> = init
                .into_iter()
                .map(|(port, stays)| {
                    json!({"name": "i", "ports": [port], "restartPolicy": stays.then_some("Always")})
                })
                .collect();
            object(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "namespace": namespace, "name": format!("p{number}"), "labels": labels,
                    "deletionTimestamp": ends
                },
                "spec": {
                    "nodeName": if node == 1 { HERE } else { THERE },
                    "hostNetwork": matches!(kind, Kind::HostNetwork),
                    "containers": containers, "initContainers": init
                },
                "status": {
                    "phase": phase, "podIP": ips[0]["ip"], "podIPs": ips, "conditions": conditions
                }
            }))
        })
}

fn container_port() -> impl Strategy<Value = Value> {
    let protocol =
        select(vec![Value::Null, json!("TCP"), json!("TCP"), json!("UDP"), json!("UDP"), json!("SCTP")]);
    // Few names, so that containers of a pod share one.
    (select(vec!["http", "http", "dns"]), select(vec![53, 80, 81]), protocol).prop_map(
        |(name, number, protocol)| json!({"name": name, "containerPort": number, "protocol": protocol}),
    )
}

/// What the node under test should know of the world.
///
/// # Errors
/// If an interface cannot be made.
pub(crate) fn desired<G: Ground>(world: &World, ground: &mut G) -> Result<Desired> {
    let mut desired = Desired::default();
    let objects = world
        .namespaces
        .iter()
        .map(|o| Manifest::Namespace(Box::new(o.clone())))
        .chain(world.nodes.iter().map(|o| Manifest::Node(Box::new(o.clone()))))
        .chain(world.pods.iter().map(|o| Manifest::Pod(Box::new(o.clone()))))
        .chain(world.policies.iter().map(|o| Manifest::NetworkPolicy(Box::new(o.clone()))))
        .chain(world.services.iter().map(|o| Manifest::Service(Box::new(o.clone()))))
        .chain(world.slices.iter().map(|o| Manifest::EndpointSlice(Box::new(o.clone()))));
    desired.objects.extend(objects.map(|manifest| (reference(&manifest), manifest)));
    for pod in world.pods.iter().filter(|pod| has_interface(pod)) {
        let owner = owner(pod);
        desired.interfaces.insert(Interface {
            ifindex: ground.interface(&owner)?,
            name: owner.clone(),
            netns: owner,
            addresses: addresses(pod),
            master: 0,
            adopting: false,
        });
    }
    Ok(desired)
}

/// `namespace/name`
pub(super) fn owner(pod: &Pod) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

pub(crate) fn addresses(pod: &Pod) -> Vec<std::net::IpAddr> {
    let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    ips.filter_map(|entry| entry.ip.parse().ok()).collect()
}

pub(super) fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

pub(super) fn is_on_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

pub(super) fn is_here(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(HERE)
}

pub(crate) fn has_interface(pod: &Pod) -> bool {
    is_running(pod) && !is_on_host_network(pod) && is_here(pod)
}
