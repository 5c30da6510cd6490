use std::net::IpAddr;

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service, ServicePort},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde::{Deserialize, Serialize};

use super::{
    judgement::ObjectName,
    party::Family,
    port::{named_ports, protocol_number},
    ways::{WayIn, find},
    world::{World, addresses_of, is_live, labels_of, name_of, namespace_in, namespace_of, node_of},
};

/// What a Service address stands for at the moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Translation {
    /// The Service.
    pub service: ObjectName,
    /// Name of the Service's port; empty if it has none.
    pub port: String,
    /// Who may answer, by address; empty if nobody does.
    pub backends: Vec<ServiceBackend>,
}

/// One address and port that answers for a Service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ServiceBackend {
    /// Its address.
    pub address: IpAddr,
    /// Its port, host order.
    pub port: u16,
    /// The pod that has the address, if one of the cluster has it.
    pub pod: Option<ObjectName>,
}

/// An endpoint before it is decided who serves.
struct Candidate {
    address: IpAddr,
    port: u16,
    node: Option<String>,
    ready: bool,
    serving: bool,
    terminating: bool,
    /// Zones that it is meant for.
    zones: Vec<String>,
    /// Nodes that it is meant for.
    nodes: Vec<String>,
}

/// What `port` (host order) of an address stands for to clients on `node`; `None` if no Service has that address, port and protocol.
///
/// The EndpointSlices of the Service say who answers; without any, its selector does.
#[must_use]
pub fn translate(world: &World, node: &str, address: IpAddr, port: u16, protocol: u8) -> Option<Translation> {
    let WayIn { service, entry, local } = find(world, node, address, port, protocol)?;
    let name = ObjectName {
        namespace: namespace_in(&service.metadata).into(),
        name: service.metadata.name.clone().unwrap_or_default(),
    };
    let slices: Vec<&EndpointSlice> = world.slices.iter().filter(|slice| belongs_to(slice, &name)).collect();
    let family = Family::of(address);
    let mut candidates = if slices.is_empty() {
        from_selector(world, service, entry, &name.namespace, family)
    } else {
        slices.into_iter().flat_map(|slice| from_slice(slice, entry, family)).collect()
    };
    candidates = without_duplicates(candidates, node, world.zone_of(node));
    if local {
        candidates.retain(|candidate| candidate.node.as_deref() == Some(node));
    }
    if candidates.iter().any(|c| c.ready) {
        candidates.retain(|c| c.ready);
        if !local {
            candidates = as_hinted(candidates, node, world.zone_of(node));
        }
    } else {
        // Nobody is ready: those who still answer although they are about to end.
        candidates.retain(|c| c.serving && c.terminating);
    }
    let mut backends: Vec<ServiceBackend> = candidates
        .into_iter()
        .map(|c| ServiceBackend { address: c.address, port: c.port, pod: pod_name(world, c.address) })
        .collect();
    backends.sort();
    backends.dedup();
    Some(Translation { service: name, port: entry.name.clone().unwrap_or_default(), backends })
}

/// One address and port may be listed twice while a pod follows another under its address: then the one that is not about
/// to end counts. Where that does not decide, the readier one does, the one of this node, and at last the one hinted here.
fn without_duplicates(candidates: Vec<Candidate>, node: &str, zone: Option<&str>) -> Vec<Candidate> {
    let worth = |c: &Candidate| {
        let place = |names: &[String], here: Option<&str>| match names {
            [] => 0,
            _ if here.is_some_and(|here| names.iter().any(|name| name == here)) => 2,
            _ => 1,
        };
        let here = c.node.as_deref() == Some(node);
        (!c.terminating, c.ready, c.serving, here, place(&c.nodes, Some(node)), place(&c.zones, zone))
    };
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        match kept.iter_mut().find(|k| (k.address, k.port) == (candidate.address, candidate.port)) {
            Some(other) if worth(other) < worth(&candidate) => *other = candidate,
            Some(_) => {}
            None => kept.push(candidate),
        }
    }
    kept
}

/// If each of them is meant for some node and one for this node, those; else the same for zones; else all of them.
fn as_hinted(candidates: Vec<Candidate>, node: &str, zone: Option<&str>) -> Vec<Candidate> {
    let mine = |c: &Candidate| c.nodes.iter().any(|name| name == node);
    if candidates.iter().all(|c| !c.nodes.is_empty()) && candidates.iter().any(mine) {
        return candidates.into_iter().filter(mine).collect();
    }
    let ours = |c: &Candidate| zone.is_some_and(|zone| c.zones.iter().any(|name| name == zone));
    if candidates.iter().all(|c| !c.zones.is_empty()) && candidates.iter().any(ours) {
        return candidates.into_iter().filter(ours).collect();
    }
    candidates
}

pub(super) fn protocol_of(entry: &ServicePort) -> &str {
    entry.protocol.as_deref().filter(|name| !name.is_empty()).unwrap_or("TCP")
}

fn pod_name(world: &World, address: IpAddr) -> Option<ObjectName> {
    let pod = world.pod_at(address)?;
    Some(ObjectName { namespace: namespace_of(pod).into(), name: name_of(pod).into() })
}

fn belongs_to(slice: &EndpointSlice, service: &ObjectName) -> bool {
    let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
    namespace_in(&slice.metadata) == service.namespace && label == Some(&service.name)
}

fn from_slice(slice: &EndpointSlice, entry: &ServicePort, family: Family) -> Vec<Candidate> {
    let wanted = if family == Family::V4 { "IPv4" } else { "IPv6" };
    if slice.address_type != wanted {
        return Vec::new();
    }
    let numbers: Vec<u16> = slice
        .ports
        .iter()
        .flatten()
        .filter(|port| port.name.as_deref().unwrap_or_default() == entry.name.as_deref().unwrap_or_default())
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == protocol_of(entry))
        .filter_map(|port| u16::try_from(port.port?).ok().filter(|n| *n > 0))
        .collect();
    let mut found = Vec::new();
    for endpoint in slice.endpoints.iter().flatten() {
        // Only the first address counts; the others are never filled in by the controller.
        let Some(address) = endpoint.addresses.first().and_then(|text| text.parse::<IpAddr>().ok()) else {
            continue;
        };
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        let hints = endpoint.hints.clone().unwrap_or_default();
        let zones: Vec<String> = hints.for_zones.into_iter().flatten().map(|zone| zone.name).collect();
        let nodes: Vec<String> = hints.for_nodes.into_iter().flatten().map(|node| node.name).collect();
        found.extend(numbers.iter().map(|port| Candidate {
            address,
            port: *port,
            node: endpoint.node_name.clone(),
            ready,
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            zones: zones.clone(),
            nodes: nodes.clone(),
        }));
    }
    found
}

fn from_selector(
    world: &World,
    service: &Service,
    entry: &ServicePort,
    namespace: &str,
    family: Family,
) -> Vec<Candidate> {
    let spec = service.spec.clone().unwrap_or_default();
    let selector = spec.selector.unwrap_or_default();
    // A Service without a selector has no pods, unlike a policy without one.
    if selector.is_empty() {
        return Vec::new();
    }
    let even_unready = spec.publish_not_ready_addresses.unwrap_or(false);
    let mut found = Vec::new();
    for pod in &world.pods {
        let labels = labels_of(pod);
        let selected = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        if namespace_of(pod) != namespace || !selected || !is_live(pod) {
            continue;
        }
        let address = addresses_of(pod).into_iter().find(|a| Family::of(*a) == family);
        let (Some(address), Some(port)) = (address, target_port(entry, pod)) else { continue };
        let serving = says_ready(pod);
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let ready = even_unready || serving && !terminating;
        let node = node_of(pod).map(str::to_owned);
        let (zones, nodes) = (Vec::new(), Vec::new());
        found.push(Candidate { address, port, node, ready, serving, terminating, zones, nodes });
    }
    found
}

/// The `Ready` condition. A pod that says nothing of it is ready: manifests in a folder carry no status.
pub(crate) fn says_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    ready.is_none_or(|condition| condition.status == "True")
}

fn target_port(entry: &ServicePort, pod: &Pod) -> Option<u16> {
    match &entry.target_port {
        Some(IntOrString::String(name)) =>
        // The first, where policies mean all of them.
        {
            named_ports(Some(pod), name, protocol_number(protocol_of(entry))?).first().copied()
        }
        // The API server fills in 0 or nothing with the Service's own port.
        Some(IntOrString::Int(number)) if *number > 0 => u16::try_from(*number).ok(),
        _ => u16::try_from(entry.port).ok(),
    }
}
