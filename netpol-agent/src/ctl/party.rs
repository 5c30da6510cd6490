//! Words for the ends of a connection, and whom they mean.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use super::explain::ExplainError;
use crate::{
    model::Name,
    oracle::{Party, World},
};

/// One end as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Words {
    Pod(Name),
    Node(String),
    Service(Name),
    Address(IpAddr),
}

/// One end, found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct End {
    /// For the reference evaluator.
    pub(super) party: Party,
    /// Its addresses; never empty.
    pub(super) addresses: Vec<IpAddr>,
    /// The pod, if it is one with a network of its own.
    pub(super) pod: Option<Name>,
    /// The node that this pod is on.
    pub(super) pod_node: Option<String>,
    /// The node, if it is a process of a node.
    pub(super) node: Option<String>,
}

/// Reads `ns/pod`, `node:NAME`, `service:ns/name` or an address.
pub(super) fn parse_party(text: &str) -> Result<Words, ExplainError> {
    let unclear = || ExplainError::Party(text.to_owned());
    let name = |text: &str| match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Name::new(namespace, name))
        }
        _ => Err(unclear()),
    };
    if let Some(service) = text.strip_prefix("service:") {
        return name(service).map(Words::Service);
    }
    match text.strip_prefix("node:") {
        Some("") => Err(unclear()),
        Some(node) => Ok(Words::Node(node.to_owned())),
        None => match text.parse() {
            Ok(address) => Ok(Words::Address(address)),
            Err(_) => name(text).map(Words::Pod),
        },
    }
}

impl Words {
    /// Finds the end. A Service is none.
    pub(super) fn resolve(&self, world: &World) -> Result<End, ExplainError> {
        match self {
            Self::Service(_) => Err(ExplainError::FromService),
            Self::Address(address) => Ok(End::at(world, *address)),
            Self::Pod(name) => {
                let pod =
                    find_pod(world, name).ok_or_else(|| ExplainError::Unknown(format!("pod {name}")))?;
                let party = Party::Pod { namespace: name.namespace.to_string(), name: name.name.to_string() };
                End::of_pod(pod, party, addresses_of(pod))
                    .ok_or_else(|| ExplainError::NoAddress(format!("pod {name}")))
            }
            Self::Node(name) => {
                let node = world.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name));
                let node = node.ok_or_else(|| ExplainError::Unknown(format!("node {name}")))?;
                let listed = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
                let addresses: Vec<IpAddr> = listed.filter_map(|a| a.address.parse().ok()).collect();
                let addresses = one_of_each_family(addresses);
                if addresses.is_empty() {
                    return Err(ExplainError::NoAddress(format!("node {name}")));
                }
                let party = Party::Node(name.clone());
                Ok(End { party, addresses, pod: None, pod_node: None, node: Some(name.clone()) })
            }
        }
    }
}

impl End {
    /// Whoever has the address.
    pub(super) fn at(world: &World, address: IpAddr) -> Self {
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let party = Party::Address(address);
        let mut pods = world.pods.iter().filter(|pod| !ended(pod) && !host_network(pod));
        pods.find(|pod| addresses_of(pod).contains(&address))
            .and_then(|pod| Self::of_pod(pod, party.clone(), vec![address]))
            .unwrap_or(Self { party, addresses: vec![address], pod: None, pod_node: None, node: None })
    }

    fn of_pod(pod: &Pod, party: Party, addresses: Vec<IpAddr>) -> Option<Self> {
        let addresses = one_of_each_family(addresses);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let (pod, pod_node, node) =
            if host_network(pod) { (None, None, node) } else { (Some(name_of(pod)), node, None) };
        (!addresses.is_empty()).then_some(Self { party, addresses, pod, pod_node, node })
    }
}

/// The pod with this name.
pub(super) fn find_pod<'w>(world: &'w World, name: &Name) -> Option<&'w Pod> {
    world.pods.iter().find(|pod| name_of(pod) == *name)
}

fn name_of(pod: &Pod) -> Name {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    Name::new(namespace, pod.metadata.name.as_deref().unwrap_or_default())
}

fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

fn addresses_of(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().map(|entry| &entry.ip).chain(&status.pod_ip);
    all.filter_map(|text| text.parse().ok()).collect()
}

/// The first address of each family, which is the one that the reference evaluator takes.
fn one_of_each_family(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let four = addresses.iter().find(|a| a.is_ipv4());
    let six = addresses.iter().find(|a| a.is_ipv6());
    four.into_iter().chain(six).copied().collect()
}
