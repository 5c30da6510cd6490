use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use super::{
    judgement::ObjectName,
    world::{World, addresses_of, has_own_network, is_live, node_of},
};

/// One end of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Party {
    /// A pod by name. A host-network pod is its node.
    Pod {
        /// `metadata.namespace`
        namespace: String,
        /// `metadata.name`
        name: String,
    },
    /// The node itself, by name: what its own processes send, under the first address of `status.addresses`.
    Node(String),
    /// Whoever has the address: the pod that lives there, else somebody whom only ipBlocks can match. It is never taken
    /// for a node, because an address alone proves no origin.
    Address(IpAddr),
}

/// The address family of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// May this new connection be opened?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Who opens it.
    pub from: Party,
    /// Who is meant, after service translation.
    pub to: Party,
    /// Which of the ends' addresses are used.
    pub family: Family,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port; ignored for protocols other than TCP, UDP and SCTP.
    pub port: u16,
}

/// A question about somebody who is not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswerable {
    /// No pod has that name.
    #[error("there is no pod {0}")]
    NoPod(ObjectName),
    /// The pod has ended (phase Succeeded or Failed).
    #[error("pod {0} has ended")]
    Ended(ObjectName),
    /// The pod or node has no address of the family in its status.
    #[error("{party} has no {family:?} address in its status")]
    NoAddress {
        /// The pod or node.
        party: String,
        /// The family asked for.
        family: Family,
    },
}

/// A party found in the world.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'w> {
    /// The pod, if it is one with a network of its own.
    pub(super) pod: Option<&'w Pod>,
    /// The node, if it is a node's own process.
    pub(super) node: Option<&'w str>,
    /// Its address of the family asked for.
    pub(super) address: IpAddr,
}

impl<'w> End<'w> {
    pub(super) fn find(world: &'w World, party: &'w Party, family: Family) -> Result<Self, Unanswerable> {
        let of_family = |addresses: Vec<IpAddr>| addresses.into_iter().find(|a| Family::of(*a) == family);
        match party {
            Party::Pod { namespace, name } => {
                let full = ObjectName { namespace: namespace.clone(), name: name.clone() };
                let pod = world.pod(namespace, name).ok_or_else(|| Unanswerable::NoPod(full.clone()))?;
                if !is_live(pod) {
                    return Err(Unanswerable::Ended(full));
                }
                let address = of_family(addresses_of(pod))
                    .ok_or_else(|| Unanswerable::NoAddress { party: format!("pod {full}"), family })?;
                if has_own_network(pod) {
                    Ok(Self { pod: Some(pod), node: None, address })
                } else {
                    Ok(Self { pod: None, node: node_of(pod), address })
                }
            }
            Party::Node(name) => {
                let address = of_family(world.node_addresses(name))
                    .ok_or_else(|| Unanswerable::NoAddress { party: format!("node {name}"), family })?;
                Ok(Self { pod: None, node: Some(name), address })
            }
            Party::Address(address) => {
                Ok(Self { pod: world.pod_at(*address), node: None, address: *address })
            }
        }
    }
}
