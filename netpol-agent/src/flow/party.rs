use std::{fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::{Labels, Name, Workload};

/// One end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartyRecord {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 for protocols without ports. For an ICMP echo: the identifier at the asking end.
    pub port: u16,
    /// Namespace of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// The pod that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<str>>,
    /// What made the pod, as far as its own object says: the controller in its `metadata.ownerReferences`, or the
    /// Deployment of that ReplicaSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Arc<Workload>>,
    /// Labels of the pod.
    #[serde(default, skip_serializing_if = "no_labels")]
    pub labels: Labels,
    /// The Service that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRecord>,
    /// The node that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

/// A Service.
pub type ServiceRecord = Name;

/// Whether labels need not be written.
pub(crate) fn no_labels(labels: &Labels) -> bool {
    labels.is_empty()
}

impl PartyRecord {
    /// Somebody of whom no more is known.
    #[must_use]
    pub fn unknown(address: IpAddr, port: u16) -> Self {
        Self {
            address,
            port,
            namespace: None,
            pod: None,
            workload: None,
            labels: Labels::default(),
            service: None,
            node: None,
        }
    }

    pub(super) fn is_pod(&self, name: &Name) -> bool {
        self.namespace.as_ref() == Some(&name.namespace) && self.pod.as_ref() == Some(&name.name)
    }
}

impl fmt::Display for PartyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, namespace, pod, service, node, .. } = self;
        match (namespace, pod, service, node) {
            (Some(namespace), Some(pod), ..) => write!(f, "{namespace}/{pod}")?,
            (_, _, Some(service), _) => write!(f, "service:{service}")?,
            (_, _, _, Some(node)) => write!(f, "node:{node}")?,
            // As in a URL, so that the port can be told from the address.
            _ if address.is_ipv6() && *port != 0 => write!(f, "[{address}]")?,
            _ => write!(f, "{address}")?,
        }
        if *port == 0 { Ok(()) } else { write!(f, ":{port}") }
    }
}
