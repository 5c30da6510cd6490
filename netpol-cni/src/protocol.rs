//! What travels over the agent's socket for plugins: one JSON value a line, a [`Request`] and then one [`Answer`].

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

/// Longer lines are refused by both sides. The longest is that of GC, with some hundred bytes for each pod of the node.
pub const MAX_LINE: u64 = 1 << 20;

/// What the plugin asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// Police this interface. Answered once its pod's policy is in the kernel, or when the time is over.
    Add {
        /// Which one.
        wiring: Box<Wiring>,
        /// How long to wait, in milliseconds.
        timeout_ms: u64,
    },
    /// Is this interface policed?
    Check {
        /// Which one.
        wiring: Box<Wiring>,
    },
    /// The attachment is gone, or about to go.
    Del {
        /// Which one.
        attachment: Attachment,
    },
    /// Of the attachments of a network only these are left.
    Gc {
        /// `name` of the network's configuration.
        network: String,
        /// Those that are left.
        valid: Vec<Attachment>,
    },
    /// Would ADD have a chance?
    Status,
}

/// What the agent answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Done; ADD and CHECK: the pod's policy is in the kernel.
    Done,
    /// Not done: why. It may go better at another time.
    Failed(String),
    /// Not done, and never will be: why.
    Refused(String),
}

/// An interface of a container, as the specification names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID`
    pub container: String,
    /// `CNI_IFNAME`: the interface's name in the container.
    pub ifname: String,
}

impl Attachment {
    /// Whether both names are as the specification and the kernel have them; they become parts of a file's name.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let alphanumeric = |c: char| c.is_ascii_alphanumeric();
        let container = self.container.starts_with(alphanumeric)
            && self.container.len() <= 200
            && self.container.chars().all(|c| alphanumeric(c) || matches!(c, '_' | '.' | '-'));
        // dev_valid_name() of net/core/dev.c
        let ifname = !matches!(self.ifname.as_str(), "" | "." | "..")
            && self.ifname.len() < 16
            && !self.ifname.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        container && ifname
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of container {}", self.ifname, self.container)
    }
}

/// A network namespace, whatever its file is called: device and inode of nsfs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct NetnsId {
    /// `st_dev`
    pub dev: u64,
    /// `st_ino`
    pub ino: u64,
}

/// An interface that is a pod's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wiring {
    /// The interface.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// `name` of the network's configuration.
    pub network: String,
    /// The pod's network namespace.
    pub netns: NetnsId,
    /// `metadata.namespace` of the Pod.
    pub namespace: String,
    /// `metadata.name` of the Pod.
    pub name: String,
    /// What the kubelet calls the pod, empty if the runtime does not tell: `metadata.uid`, or for a static pod the value of its
    /// annotation `kubernetes.io/config.hash`.
    pub uid: String,
    /// The interface's addresses, as the plugins before told them.
    pub addresses: Vec<IpAddr>,
}

impl Wiring {
    /// Whether it is of this network, and not among the attachments that are left of that.
    #[must_use]
    pub fn is_gone(&self, network: &str, valid: &[Attachment]) -> bool {
        self.network == network && !valid.contains(&self.attachment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_a_folder_are_not_valid() {
        let valid = |container: &str, ifname: &str| {
            Attachment { container: container.into(), ifname: ifname.into() }.is_valid()
        };
        assert!(valid("0a1b-2.c_d", "eth0"));
        for (container, ifname) in [
            ("", "eth0"),
            ("..", "eth0"),
            ("a/b", "eth0"),
            ("a@b", "eth0"),
            ("a", ""),
            ("a", ".."),
            ("a", "../x"),
            ("a", "a-name-of-16-chr"),
            ("a", "a b"),
            ("a", "a:1"),
        ] {
            assert!(!valid(container, ifname), "{container:?} {ifname:?}");
        }
    }
}
