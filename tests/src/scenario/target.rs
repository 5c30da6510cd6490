//! The words for places and targets.

use std::{fmt, net::SocketAddr, str::FromStr};

use anyhow::{Context, Error, Result, bail, ensure};

use crate::bed::{Bed, Family, Place};

/// What a probe goes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// A pod's own address.
    Pod(String, u16),
    /// A Service's ClusterIP.
    Service { namespace: String, name: String, port: u16 },
    /// A port of a node.
    NodePort(String, u16),
    /// A Service's addresses from a load balancer.
    LoadBalancer { namespace: String, name: String, port: u16 },
    /// As it stands.
    Address(SocketAddr),
}

/// `ns/pod`, `node:NAME` or `outside:NAME`.
pub(super) fn place(text: &str) -> Result<Place> {
    Ok(match text.split_once(':') {
        Some(("node", name)) if !name.is_empty() => Place::Node(name.to_owned()),
        Some(("outside", name)) if !name.is_empty() => Place::Outside(name.to_owned()),
        None => Place::Pod(namespaced(text)?.to_owned()),
        _ => bail!("not a place: {text:?} (namespace/pod, node:NAME or outside:NAME)"),
    })
}

fn namespaced(text: &str) -> Result<&str> {
    let parts =
        text.split_once('/').filter(|(ns, name)| !ns.is_empty() && !name.is_empty() && !name.contains('/'));
    ensure!(parts.is_some(), "not a name: {text:?} (namespace/name)");
    Ok(text)
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const FORMS: &str = "namespace/pod:port, service:namespace/name:port, nodeport:node:port, \
                             loadbalancer:namespace/name:port, address:port or [address]:port";
        if let Ok(addr) = text.parse() {
            return Ok(Self::Address(addr));
        }
        let wrong = || format!("not a target: {text:?} ({FORMS})");
        let (rest, port) = text.rsplit_once(':').with_context(wrong)?;
        let port: u16 = port.parse().with_context(wrong)?;
        Ok(match rest.split_once(':') {
            None => Self::Pod(namespaced(rest).with_context(wrong)?.to_owned(), port),
            Some((kind @ ("service" | "loadbalancer"), name)) => {
                let (namespace, name) =
                    namespaced(name).with_context(wrong)?.split_once('/').with_context(wrong)?;
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                if kind == "service" {
                    Self::Service { namespace, name, port }
                } else {
                    Self::LoadBalancer { namespace, name, port }
                }
            }
            Some(("nodeport", node)) => Self::NodePort(node.to_owned(), port),
            Some(_) => bail!(wrong()),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name, port) => write!(f, "{name}:{port}"),
            Self::Service { namespace, name, port } => write!(f, "service:{namespace}/{name}:{port}"),
            Self::NodePort(node, port) => write!(f, "nodeport:{node}:{port}"),
            Self::LoadBalancer { namespace, name, port } => {
                write!(f, "loadbalancer:{namespace}/{name}:{port}")
            }
            Self::Address(addr) => addr.fmt(f),
        }
    }
}

impl Target {
    /// Whether whoever answers has another address.
    pub(super) fn is_translated(&self) -> bool {
        matches!(self, Self::Service { .. } | Self::NodePort(..) | Self::LoadBalancer { .. })
    }

    /// The addresses it has now.
    pub(super) fn resolve(&self, bed: &Bed) -> Result<Vec<SocketAddr>> {
        let (addresses, port) = match self {
            Self::Pod(name, port) => (bed.pod(name)?.addresses.clone(), *port),
            Self::Service { namespace, name, port } => (bed.service_addresses(namespace, name)?, *port),
            Self::Address(addr) => (vec![addr.ip()], addr.port()),
            Self::NodePort(node, port) => (bed.addresses(&Place::Node(node.clone()))?.to_vec(), *port),
            Self::LoadBalancer { namespace, name, port } => {
                (bed.load_balancer_addresses(namespace, name)?, *port)
            }
        };
        Ok(addresses.into_iter().map(|addr| SocketAddr::new(addr, port)).collect())
    }

    /// Where it is in one family, if it is there at all.
    pub(super) fn resolve_in(&self, bed: &Bed, family: Family) -> Result<Option<SocketAddr>> {
        Ok(self.resolve(bed)?.into_iter().find(|addr| Family::of(addr.ip()) == family))
    }
}
