use k8s_openapi::{
    api::core::v1,
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use netpol_common::net::proto;

use super::{
    address, name_of,
    outside::{has_node_ports, outside},
    port_number, protocol,
    report::Report,
};
use crate::model::{Labels, LoadBalancing, Outside, Service, ServicePort, TargetPort};

/// Labels that hand a Service to somebody else.
const FOREIGN: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

pub(super) fn service(object: &v1::Service, report: &mut Report<'_>) -> Service {
    let absent = v1::ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&absent);
    let labels = object.metadata.labels.as_ref();
    let foreign = FOREIGN.iter().any(|key| labels.is_some_and(|l| l.contains_key(*key)));
    let external = spec.type_.as_deref() == Some("ExternalName");
    let addresses = if foreign || external { Vec::new() } else { addresses(spec, report) };
    let balanced = !addresses.is_empty();
    let local_only = match spec.internal_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => false,
        Some("Local") => true,
        Some(other) => {
            let message = format!("{other:?} is neither Cluster nor Local; read as Cluster");
            report.error("spec.internalTrafficPolicy", message);
            false
        }
    };
    Service {
        name: name_of(&object.metadata),
        ports: if balanced { ports(spec, report) } else { Vec::new() },
        outside: if balanced { outside(object, spec, report) } else { Outside::default() },
        addresses,
        // Unlike a policy, a Service without a selector selects nobody.
        selector: spec.selector.clone().filter(|s| !s.is_empty()).map(Labels::new),
        local_only,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        affinity_s: affinity(spec, report),
        load_balancing: load_balancing(&object.metadata, report),
    }
}

fn addresses(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> Vec<std::net::IpAddr> {
    let mut found = Vec::new();
    let listed = spec.cluster_ips.iter().flatten().enumerate();
    let listed = listed.map(|(i, text)| (format!("spec.clusterIPs[{i}]"), text.as_str()));
    let single = spec.cluster_ip.as_deref().map(|text| ("spec.clusterIP".to_owned(), text));
    for (field, text) in listed.chain(single).filter(|(_, text)| !matches!(*text, "" | "None")) {
        match address(text) {
            Ok(addr) if found.contains(&addr) => {}
            Ok(addr) => found.push(addr),
            Err(why) => report.error(field, format!("{why}; it is not served")),
        }
    }
    found.shrink_to_fit();
    found
}

/// The API's default of `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_S: u32 = 10_800;
/// The API's limits of it.
const AFFINITY_RANGE_S: std::ops::RangeInclusive<u32> = 1..=86_400;

fn affinity(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> u32 {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return 0,
        Some("ClientIP") => {}
        Some(other) => {
            let message = format!("{other:?} is neither None nor ClientIP; read as None");
            report.error("spec.sessionAffinity", message);
            return 0;
        }
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let Some(given) = config.and_then(|config| config.timeout_seconds) else { return AFFINITY_S };
    match u32::try_from(given).ok().filter(|seconds| AFFINITY_RANGE_S.contains(seconds)) {
        Some(seconds) => seconds,
        None => {
            let message = format!("{given} is not between 1 and 86400; {AFFINITY_S} is used");
            report.error("spec.sessionAffinityConfig.clientIP.timeoutSeconds", message);
            AFFINITY_S
        }
    }
}

/// The annotation that says how backends are chosen.
const LOAD_BALANCING: &str = "netpol.dev/load-balancing";

fn load_balancing(meta: &ObjectMeta, report: &mut Report<'_>) -> Option<LoadBalancing> {
    match meta
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(LOAD_BALANCING))
        .map(String::as_str)
    {
        None => None,
        Some("random") => Some(LoadBalancing::Random),
        Some("maglev") => Some(LoadBalancing::Maglev),
        Some(other) => {
            let message = format!("{other:?} is neither random nor maglev; it is not read");
            report.error(format!("metadata.annotations[{LOAD_BALANCING}]"), message);
            None
        }
    }
}

fn ports(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> Vec<ServicePort> {
    let node_ports = has_node_ports(spec, report);
    let mut found: Vec<ServicePort> = Vec::new();
    for (i, entry) in spec.ports.iter().flatten().enumerate() {
        let port = port(entry).map(|port| {
            let node_port = if node_ports { node_port(entry, &port, i, report) } else { None };
            ServicePort { node_port, ..port }
        });
        match port {
            Ok(port) if found.iter().any(|p| (p.port, p.proto) == (port.port, port.proto)) => {
                let message = format!("{} is taken by an earlier port; it is not served", port.port);
                report.error(format!("spec.ports[{i}].port"), message);
            }
            Ok(port) => found.push(port),
            Err((field, why)) => {
                report.error(format!("spec.ports[{i}].{field}"), format!("{why}; it is not served"))
            }
        }
    }
    found.shrink_to_fit();
    found
}

fn port(entry: &v1::ServicePort) -> Result<ServicePort, (&'static str, String)> {
    let proto = protocol(entry.protocol.as_deref()).map_err(|why| ("protocol", why))?;
    let port = port_number(entry.port).map_err(|why| ("port", why))?;
    let target = match &entry.target_port {
        // The API server fills in what is absent with the Service's own port.
        None | Some(IntOrString::Int(0)) => TargetPort::Number(port),
        Some(IntOrString::Int(number)) => {
            TargetPort::Number(port_number(*number).map_err(|why| ("targetPort", why))?)
        }
        Some(IntOrString::String(name)) if name.is_empty() => TargetPort::Number(port),
        Some(IntOrString::String(name)) => TargetPort::Named(name.clone()),
    };
    if let (proto::SCTP, TargetPort::Number(target)) = (proto, &target)
        && *target != port
    {
        return Err(("targetPort", format!("{target} is not the port itself, and SCTP keeps its ports")));
    }
    Ok(ServicePort { name: entry.name.clone().unwrap_or_default(), proto, port, node_port: None, target })
}

/// The port of each node; 0 where none was given out.
fn node_port(entry: &v1::ServicePort, port: &ServicePort, i: usize, report: &mut Report<'_>) -> Option<u16> {
    let given = entry.node_port.filter(|number| *number != 0)?;
    let why = match port_number(given) {
        Ok(number) if port.proto != proto::SCTP || number == port.port => return Some(number),
        Ok(_) => "SCTP keeps its ports".to_owned(),
        Err(why) => why,
    };
    report.error(format!("spec.ports[{i}].nodePort"), format!("{why}; it is not served"));
    None
}
