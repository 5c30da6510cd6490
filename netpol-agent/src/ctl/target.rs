//! Where a connection would end: Services are translated to their backends.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use super::{
    explain::ExplainError,
    party::{End, Words, find_pod, parse_party},
};
use crate::{
    flow::protocol_name,
    model::Name,
    oracle::{World, translate},
};

/// Everybody who may be reached.
#[derive(Debug)]
pub(super) struct Target {
    /// The Service that the connection goes through.
    pub(super) service: Option<Name>,
    /// The port that is dialled.
    pub(super) port: u16,
    /// Who may be reached, each on its own port.
    pub(super) ends: Vec<(End, u16)>,
}

/// Finds who is meant by `text` on `node`; `port` is `None` if none was given.
pub(super) fn targets(
    world: &World,
    node: &str,
    text: &str,
    protocol: u8,
    port: Option<u16>,
) -> Result<Target, ExplainError> {
    let words = parse_party(text)?;
    if let Words::Service(name) = &words {
        return through_service(world, node, name, protocol, port);
    }
    let port = match (port, &words) {
        (Some(port), _) => port,
        (None, Words::Pod(name)) => only_port(world, name, protocol)?,
        (None, _) => {
            return Err(ExplainError::Port {
                of: text.to_owned(),
                known: "no ports that are known".to_owned(),
            });
        }
    };
    if let Words::Address(address) = words
        && let Some(translation) = translate(world, node, address, port, protocol)
    {
        let service = Name::new(&translation.service.namespace, &translation.service.name);
        let ends = translation.backends.iter().map(|b| (End::at(world, b.address), b.port)).collect();
        return Ok(Target { service: Some(service), port, ends });
    }
    Ok(Target { service: None, port, ends: vec![(words.resolve(world)?, port)] })
}

fn through_service(
    world: &World,
    node: &str,
    name: &Name,
    protocol: u8,
    port: Option<u16>,
) -> Result<Target, ExplainError> {
    let named = |service: &&Service| {
        let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
        service.metadata.name.as_deref() == Some(&name.name) && namespace == &*name.namespace
    };
    let service =
        world.services.iter().find(named).ok_or_else(|| ExplainError::Unknown(format!("service {name}")))?;
    let spec = service.spec.clone().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = spec
        .cluster_ips
        .iter()
        .flatten()
        .chain(&spec.cluster_ip)
        .filter_map(|text| text.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(ExplainError::Headless(name.clone()));
    }
    let wanted = protocol_name(protocol);
    let all: Vec<(u16, &str)> = spec
        .ports
        .iter()
        .flatten()
        .filter_map(|p| Some((u16::try_from(p.port).ok()?, p.protocol.as_deref().unwrap_or("TCP"))))
        .collect();
    let known = || list(all.iter().map(|(port, protocol)| format!("{port}/{protocol}")));
    let of_protocol: Vec<u16> = all.iter().filter(|(_, p)| *p == wanted).map(|(port, _)| *port).collect();
    let port = match (port, of_protocol[..].first(), of_protocol.len()) {
        (Some(port), ..) => port,
        (None, Some(only), 1) => *only,
        (None, ..) => return Err(ExplainError::Port { of: format!("service {name}"), known: known() }),
    };
    if !of_protocol.contains(&port) {
        return Err(ExplainError::NoServicePort {
            service: name.clone(),
            protocol: wanted,
            port,
            known: known(),
        });
    }
    let translations =
        addresses.into_iter().filter_map(|address| translate(world, node, address, port, protocol));
    let backends = translations.flat_map(|translation| translation.backends);
    let ends = backends.map(|b| (End::at(world, b.address), b.port)).collect();
    Ok(Target { service: Some(name.clone()), port, ends })
}

/// The port of a pod that names only one of the protocol.
fn only_port(world: &World, name: &Name, protocol: u8) -> Result<u16, ExplainError> {
    let pod = find_pod(world, name).ok_or_else(|| ExplainError::Unknown(format!("pod {name}")))?;
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let wanted = protocol_name(protocol);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let mut ports: Vec<u16> = ports
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == wanted)
        .filter_map(|port| u16::try_from(port.container_port).ok())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    match ports[..] {
        [only] => Ok(only),
        _ => Err(ExplainError::Port {
            of: format!("pod {name}"),
            known: list(ports.iter().map(|port| format!("{port}/{wanted}"))),
        }),
    }
}

fn list(ports: impl Iterator<Item = String>) -> String {
    let ports: Vec<_> = ports.collect();
    if ports.is_empty() { "no ports that are known".to_owned() } else { ports.join(", ") }
}
