use k8s_openapi::{
    api::{
        core::v1::{ContainerPort, Pod},
        networking::v1::NetworkPolicyPort,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use netpol_common::net::proto;

use super::miss::PortMiss;

/// Whether an entry of `ports` allows `port` of `protocol` on the destination; otherwise why not.
pub(super) fn matches(
    entry: &NetworkPolicyPort,
    protocol: u8,
    port: u16,
    destination: Option<&Pod>,
) -> Result<(), PortMiss> {
    let name = entry.protocol.as_deref().unwrap_or("TCP");
    let Some(number) = protocol_number(name) else {
        return Err(invalid("protocol", format!("{name:?} is none of TCP, UDP and SCTP")));
    };
    let range = allowed(entry)?;
    if ![proto::TCP, proto::UDP, proto::SCTP].contains(&protocol) {
        return Err(PortMiss::NoPorts);
    }
    if number != protocol {
        return Err(PortMiss::OtherProtocol { protocol: name.into() });
    }
    match range {
        Allowed::Every => Ok(()),
        Allowed::Range(first, last) if (first..=last).contains(&port) => Ok(()),
        Allowed::Range(first, last) => Err(PortMiss::OtherPort { first, last }),
        Allowed::Named(wanted) => {
            let numbers = named_ports(destination, wanted, number);
            match numbers.contains(&port) {
                true => Ok(()),
                false if numbers.is_empty() => {
                    Err(PortMiss::NoSuchName { name: wanted.into(), protocol: name.into() })
                }
                false => Err(PortMiss::NamedElsewhere { name: wanted.into(), numbers }),
            }
        }
    }
}

enum Allowed<'a> {
    Every,
    Range(u16, u16),
    Named(&'a str),
}

fn allowed(entry: &NetworkPolicyPort) -> Result<Allowed<'_>, PortMiss> {
    let number = |value: i32, field: &str| {
        u16::try_from(value)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| invalid(field, format!("{value} is not between 1 and 65535")))
    };
    match (&entry.port, entry.end_port) {
        (None, None) => Ok(Allowed::Every),
        (None, Some(_)) => Err(invalid("endPort", "it needs a port".into())),
        (Some(IntOrString::Int(first)), None) => {
            number(*first, "port").map(|first| Allowed::Range(first, first))
        }
        (Some(IntOrString::Int(first)), Some(last)) => {
            let (first, last) = (number(*first, "port")?, number(last, "endPort")?);
            if last < first {
                return Err(invalid("endPort", format!("{last} is less than port {first}")));
            }
            Ok(Allowed::Range(first, last))
        }
        (Some(IntOrString::String(_)), Some(_)) => {
            Err(invalid("endPort", "it needs a port given as a number".into()))
        }
        (Some(IntOrString::String(name)), None) if name.is_empty() => {
            Err(invalid("port", "the name is empty".into()))
        }
        (Some(IntOrString::String(name)), None) => Ok(Allowed::Named(name)),
    }
}

/// The numbers that a name stands for on a pod, under a protocol: such ports of its containers, then of its sidecars (init
/// containers that keep running). Nobody else's ports have names.
pub(crate) fn named_ports(pod: Option<&Pod>, name: &str, protocol: u8) -> Vec<u16> {
    let Some(spec) = pod.and_then(|pod| pod.spec.as_ref()) else { return Vec::new() };
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let is_meant = |port: &&ContainerPort| {
        let written = port.protocol.as_deref().filter(|name| !name.is_empty());
        port.name.as_deref() == Some(name) && protocol_number(written.unwrap_or("TCP")) == Some(protocol)
    };
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter(is_meant)
        .filter_map(|port| u16::try_from(port.container_port).ok().filter(|number| *number > 0))
        .collect()
}

/// The number of a protocol that can stand in a port.
pub(crate) fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "TCP" => Some(proto::TCP),
        "UDP" => Some(proto::UDP),
        "SCTP" => Some(proto::SCTP),
        _ => None,
    }
}

fn invalid(field: &str, message: String) -> PortMiss {
    PortMiss::Invalid { field: field.into(), message }
}
