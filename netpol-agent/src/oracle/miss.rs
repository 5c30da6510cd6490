use std::fmt;

use serde::{Deserialize, Serialize};

use super::judgement::ObjectName;

/// A rule that does not allow the connection. At least one of the two lists has entries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Miss {
    /// Whose rule.
    pub policy: ObjectName,
    /// Position in `spec.ingress` or `spec.egress`, from 0.
    pub index: usize,
    /// Path of the rule in the object: `spec.ingress[0]`.
    pub path: String,
    /// Why each peer did not match; empty if the peer matched.
    pub peers: Vec<MissedPeer>,
    /// Why each port did not match; empty if the port matched.
    pub ports: Vec<MissedPort>,
}

impl Miss {
    /// The smaller, the nearer: right peer and wrong port, then wrong peer and right port, then both wrong.
    pub(super) fn distance(&self) -> u8 {
        u8::from(!self.peers.is_empty()) * 2 + u8::from(!self.ports.is_empty())
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.path)?;
        let peers = self.peers.iter().map(|miss| (&miss.path, miss.why.to_string()));
        let ports = self.ports.iter().map(|miss| (&miss.path, miss.why.to_string()));
        for (i, (path, why)) in peers.chain(ports).enumerate() {
            write!(f, "{} {path}: {why}", if i == 0 { ";" } else { "," })?;
        }
        Ok(())
    }
}

/// One entry of `from` or `to` that did not match.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MissedPeer {
    /// `spec.ingress[0].from[1]`
    pub path: String,
    /// Why not.
    pub why: PeerMiss,
}

/// One entry of `ports` that did not match.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MissedPort {
    /// `spec.ingress[0].ports[1]`
    pub path: String,
    /// Why not.
    pub why: PortMiss,
}

/// Why a peer did not match.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerMiss {
    /// Selectors match pods only.
    #[error("the other end is not a pod, and selectors match pods only")]
    NotAPod,
    /// A podSelector alone means the policy's own namespace.
    #[error("the other end is in namespace {namespace}, and a podSelector alone means the policy's own")]
    OtherNamespace {
        /// Where the other end is.
        namespace: String,
    },
    /// The namespaceSelector does not match.
    #[error("namespaceSelector does not match namespace {namespace}")]
    NamespaceLabels {
        /// Where the other end is.
        namespace: String,
    },
    /// The podSelector does not match.
    #[error("podSelector does not match pod {pod}")]
    PodLabels {
        /// The other end.
        pod: String,
    },
    /// The address is of the other family.
    #[error("{block} is of the other address family")]
    OtherFamily {
        /// The block.
        block: String,
    },
    /// The address is not in the block.
    #[error("the address is not in {block}")]
    OutsideBlock {
        /// The block.
        block: String,
    },
    /// The address is in the block, but excepted.
    #[error("the address is in except {except}")]
    Excepted {
        /// The exception, without host bits.
        except: String,
    },
    /// The peer has no meaning and matches nothing.
    #[error("{field} is invalid: {message}")]
    Invalid {
        /// The field below the peer; `peer` for the peer as a whole.
        field: String,
        /// What is wrong.
        message: String,
    },
}

/// Why a port did not match.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMiss {
    /// The protocol has no ports: only rules without ports allow it.
    #[error("the protocol has no ports, and only a rule without ports allows it")]
    NoPorts,
    /// For another protocol.
    #[error("it is for {protocol}")]
    OtherProtocol {
        /// The port's protocol.
        protocol: String,
    },
    /// For another number.
    #[error("it allows {first}{}", if first == last { String::new() } else { format!("-{last}") })]
    OtherPort {
        /// First port allowed.
        first: u16,
        /// Last port allowed.
        last: u16,
    },
    /// The name stands for other numbers on the destination.
    #[error("{name} is {numbers:?} on the destination")]
    NamedElsewhere {
        /// The port's name.
        name: String,
        /// What it stands for there.
        numbers: Vec<u16>,
    },
    /// The destination has no port of that name and protocol.
    #[error("the destination has no {protocol} port named {name}")]
    NoSuchName {
        /// The port's name.
        name: String,
        /// The port's protocol.
        protocol: String,
    },
    /// The port has no meaning and matches nothing.
    #[error("{field} is invalid: {message}")]
    Invalid {
        /// The field below the port.
        field: String,
        /// What is wrong.
        message: String,
    },
}
