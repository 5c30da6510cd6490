//! From the API's types to ours. Defaults are filled in as the API server would; what cannot be read is reported with
//! its path and left out, so that it allows nothing.

mod block;
mod cluster;
mod mode;
mod outside;
mod pod;
mod policy;
mod port;
mod report;
mod selector;
mod service;
mod slice;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use netpol_common::net::proto;
use report::Report;

use super::{Manifest, Name, Object, ObjectRef, Problem};

/// What [`convert`] made of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Converted {
    /// The object; `None` if it has no name.
    pub object: Option<Object>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Names an object. A namespaced object without a namespace lives in `default`, as after `kubectl apply`.
#[must_use]
pub fn reference(manifest: &Manifest) -> ObjectRef {
    let (kind, meta, namespaced) = match manifest {
        Manifest::Namespace(o) => ("Namespace", &o.metadata, false),
        Manifest::Node(o) => ("Node", &o.metadata, false),
        Manifest::Pod(o) => ("Pod", &o.metadata, true),
        Manifest::Service(o) => ("Service", &o.metadata, true),
        Manifest::NetworkPolicy(o) => ("NetworkPolicy", &o.metadata, true),
        Manifest::EndpointSlice(o) => ("EndpointSlice", &o.metadata, true),
        Manifest::ServiceCidr(o) => ("ServiceCIDR", &o.metadata, false),
    };
    let mut reference = name_of(meta).of_kind(kind);
    if !namespaced {
        reference.namespace.clear();
    }
    reference
}

/// Reads an object that came from `origin` (for example a file).
#[must_use]
pub fn convert(manifest: &Manifest, origin: &str) -> Converted {
    let object = reference(manifest);
    if object.name.is_empty() {
        let mut report = Report { origin, object: None, problems: Vec::new() };
        report.error("metadata.name", format!("a {} without a name is ignored", object.kind));
        return Converted { object: None, problems: report.problems };
    }
    let mut report = Report { origin, object: Some(object), problems: Vec::new() };
    let object = match manifest {
        Manifest::Namespace(o) => Object::Namespace(cluster::namespace(o, &mut report)),
        Manifest::Node(o) => Object::Node(cluster::node(o, &mut report)),
        Manifest::Pod(o) => Object::Pod(pod::pod(o, &mut report)),
        Manifest::Service(o) => Object::Service(service::service(o, &mut report)),
        Manifest::NetworkPolicy(o) => Object::Policy(policy::policy(o, &mut report)),
        Manifest::EndpointSlice(o) => Object::Slice(slice::slice(o, &mut report)),
        Manifest::ServiceCidr(o) => Object::ServiceCidr(cluster::service_cidr(o, &mut report)),
    };
    Converted { object: Some(object), problems: report.problems }
}

fn name_of(meta: &ObjectMeta) -> Name {
    let namespace = meta.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or("default");
    Name::new(namespace, meta.name.as_deref().unwrap_or_default())
}

/// The number of a protocol that has ports. Absent means TCP.
fn protocol(name: Option<&str>) -> Result<u8, String> {
    match name {
        None | Some("" | "TCP") => Ok(proto::TCP),
        Some("UDP") => Ok(proto::UDP),
        Some("SCTP") => Ok(proto::SCTP),
        Some(other) => Err(format!("{other:?} is none of TCP, UDP and SCTP")),
    }
}

/// A port number.
fn port_number(value: i32) -> Result<u16, String> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{value} is not between 1 and 65535"))
}

/// An address of a pod, node, service or endpoint.
fn address(text: &str) -> Result<std::net::IpAddr, String> {
    match text.trim().parse() {
        // Nobody sends from such an address: it would stand for an IPv4 one without being compared with it.
        Ok(std::net::IpAddr::V6(addr)) if addr.to_ipv4_mapped().is_some() => {
            Err(format!("{text:?} is an IPv4 address written as IPv6"))
        }
        Ok(addr) => Ok(addr),
        Err(error) => Err(format!("{text:?}: {error}")),
    }
}
