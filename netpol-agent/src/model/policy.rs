use std::net::IpAddr;

use ipnet::IpNet;
use netpol_common::direction::Direction;
use serde::{Deserialize, Serialize};

use super::{LabelSelector, Name};

/// A NetworkPolicy. What could not be read is left out, so that it allows nothing; whom it isolates is always known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.uid`, empty if the source has none.
    pub uid: String,
    /// `metadata.generation`, 0 if the source has none.
    pub generation: i64,
    /// Where it came from.
    pub origin: String,
    /// What its annotation `netpol.dev/mode` says; `None`: nothing, so that its namespace's counts, or the node's.
    pub mode: Option<Mode>,
    /// Which pods of its namespace it isolates. A selector that could not be read selects all of them.
    pub subject: LabelSelector,
    /// The ingress rules; `None`: it does not isolate for ingress.
    pub ingress: Option<Vec<Rule>>,
    /// The egress rules; `None`: it does not isolate for egress.
    pub egress: Option<Vec<Rule>>,
}

/// What becomes of a connection that policy denies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is dropped.
    #[default]
    Enforce,
    /// It passes and is told of: the policy is being tried.
    Audit,
}

/// A rule: allows these peers on these ports. Its place in the list is its index in the object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Who.
    pub peers: Peers,
    /// Where.
    pub ports: Ports,
}

/// The peers of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peers {
    /// Everybody, in the cluster and outside.
    Any,
    /// Whoever one of these matches; none of them: nobody.
    Of(Vec<Peer>),
}

/// One item of `from` or `to`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Peer {
    /// Pods with a network of their own.
    Pods(PodSelector),
    /// Addresses, whoever has them.
    Block(Block),
}

/// Pods, by their labels and those of their namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PodSelector {
    /// In which namespaces.
    pub namespaces: Namespaces,
    /// Which of their pods.
    pub pods: LabelSelector,
}

/// Namespaces of a [`PodSelector`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Namespaces {
    /// The one with this name.
    Named(String),
    /// Those with these labels.
    Labelled(LabelSelector),
}

/// An `ipBlock`, without host bits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Block {
    /// Which addresses.
    pub cidr: IpNet,
    /// All but these; sorted, without doubles, each smaller than `cidr`.
    pub except: Vec<IpNet>,
}

impl Block {
    /// Whether the address belongs to it.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.cidr.contains(&addr) && !self.except.iter().any(|e| e.contains(&addr))
    }
    /// Whether all addresses of a prefix belong to it, given that no border of the block lies inside the prefix.
    #[must_use]
    pub fn covers(&self, prefix: &IpNet) -> bool {
        self.cidr.contains(prefix) && !self.except.iter().any(|e| e.contains(prefix))
    }
}

/// The ports of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ports {
    /// Every port of every protocol, and protocols without ports.
    Any,
    /// Only these; none of them: nothing.
    Of(Vec<Port>),
}

/// One item of `ports`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Port {
    /// Numbers.
    Range(PortRange),
    /// The container port with this name and protocol on the receiving pod.
    Named {
        /// IANA protocol number.
        proto: u8,
        /// Name of the container port.
        name: String,
    },
}

/// `first..=last` of one protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortRange {
    /// IANA protocol number: TCP, UDP or SCTP.
    pub proto: u8,
    /// First port.
    pub first: u16,
    /// Last port, not before the first.
    pub last: u16,
}

impl Policy {
    /// The rules of a direction; `None` if the policy does not isolate in it.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}
