use k8s_openapi::api::discovery::v1;

use super::{address, name_of, protocol, report::Report};
use crate::model::{EndpointHints, Slice, SliceEndpoint, SlicePort};

pub(super) fn slice(object: &v1::EndpointSlice, report: &mut Report<'_>) -> Slice {
    let labels = object.metadata.labels.clone().unwrap_or_default();
    let headless = labels.contains_key("service.kubernetes.io/headless");
    let service = labels.get("kubernetes.io/service-name").filter(|name| !name.is_empty() && !headless);
    let endpoints = match object.address_type.as_str() {
        "IPv4" => endpoints(object, 4, report),
        "IPv6" => endpoints(object, 6, report),
        "FQDN" => Vec::new(),
        other => {
            let message = format!("{other:?} is none of IPv4, IPv6 and FQDN; its endpoints are left out");
            report.error("addressType", message);
            Vec::new()
        }
    };
    Slice {
        name: name_of(&object.metadata),
        service: service.cloned(),
        ports: ports(object, report).into(),
        endpoints: endpoints.into(),
    }
}

fn ports(object: &v1::EndpointSlice, report: &mut Report<'_>) -> Vec<SlicePort> {
    let mut found = Vec::new();
    for (i, entry) in object.ports.iter().flatten().enumerate() {
        // No number means "all ports", which no Service port can stand for; 0 is written for the same.
        let Some(number) = entry.port.filter(|n| *n != 0) else { continue };
        let proto = protocol(entry.protocol.as_deref()).map_err(|why| ("protocol", why));
        let number = super::port_number(number).map_err(|why| ("port", why));
        match proto.and_then(|proto| Ok((proto, number?))) {
            Ok((proto, port)) => {
                found.push(SlicePort { name: entry.name.clone().unwrap_or_default(), proto, port });
            }
            Err((field, why)) => {
                report.error(format!("ports[{i}].{field}"), format!("{why}; it is left out"))
            }
        }
    }
    found
}

fn endpoints(object: &v1::EndpointSlice, family: u8, report: &mut Report<'_>) -> Vec<SliceEndpoint> {
    let mut found = Vec::new();
    for (i, entry) in object.endpoints.as_deref().unwrap_or_default().iter().enumerate() {
        // Only the first address counts; the controller never writes more.
        let Some(text) = entry.addresses.first() else { continue };
        let addr = match address(text) {
            Ok(addr) if addr.is_ipv4() == (family == 4) => addr,
            Ok(addr) => {
                let message = format!("{addr} is not of the family {}; it is left out", object.address_type);
                report.error(format!("endpoints[{i}].addresses[0]"), message);
                continue;
            }
            Err(why) => {
                report.error(format!("endpoints[{i}].addresses[0]"), format!("{why}; it is left out"));
                continue;
            }
        };
        let conditions = entry.conditions.clone().unwrap_or_default();
        found.push(SliceEndpoint {
            addr,
            node: entry.node_name.as_deref().map(Into::into),
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            hints: entry
                .hints
                .as_ref()
                .map(hints)
                .filter(|hints| *hints != EndpointHints::default())
                .map(Into::into),
        });
    }
    found
}

fn hints(given: &v1::EndpointHints) -> EndpointHints {
    EndpointHints {
        for_zones: given.for_zones.iter().flatten().map(|zone| zone.name.clone()).collect(),
        for_nodes: given.for_nodes.iter().flatten().map(|node| node.name.clone()).collect(),
    }
}
