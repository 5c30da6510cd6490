use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1;

use super::{address, port_number, report::Report};
use crate::model::Outside;

/// How a Service is reached from outside the cluster.
pub(super) fn outside(object: &v1::Service, spec: &v1::ServiceSpec, report: &mut Report<'_>) -> Outside {
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    let local_only = local_only(spec, report);
    Outside {
        balancer: if balanced { balancer(object, report) } else { Vec::new() },
        external: external(spec, report),
        local_only,
        ranges: if balanced { ranges(spec, report) } else { None },
        health_port: if balanced && local_only { health_port(spec, report) } else { None },
    }
}

/// Whether it has node ports.
pub(super) fn has_node_ports(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> bool {
    match spec.type_.as_deref() {
        None | Some("" | "ClusterIP" | "ExternalName") => false,
        Some("NodePort" | "LoadBalancer") => true,
        Some(other) => {
            let message = format!("{other:?} is no type of a Service; read as ClusterIP");
            report.error("spec.type", message);
            false
        }
    }
}

fn local_only(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> bool {
    match spec.external_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => false,
        Some("Local") => true,
        Some(other) => {
            let message = format!("{other:?} is neither Cluster nor Local; read as Cluster");
            report.error("spec.externalTrafficPolicy", message);
            false
        }
    }
}

/// What the load balancer sends on without changing the destination. With `ipMode: Proxy` it sends to node ports, and clients
/// within the cluster go by way of it (KEP-1860).
fn balancer(object: &v1::Service, report: &mut Report<'_>) -> Vec<IpAddr> {
    let ingress = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = ingress.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let mut found = Vec::new();
    for (i, entry) in ingress.iter().enumerate() {
        let field = |name: &str| format!("status.loadBalancer.ingress[{i}].{name}");
        match entry.ip_mode.as_deref() {
            None | Some("" | "VIP") => {}
            Some("Proxy") => continue,
            Some(other) => {
                let message = format!("{other:?} is neither VIP nor Proxy; it is not served");
                report.error(field("ipMode"), message);
                continue;
            }
        }
        let Some(text) = entry.ip.as_deref().filter(|text| !text.is_empty()) else { continue };
        match address(text) {
            Ok(addr) if found.contains(&addr) => {}
            Ok(addr) => found.push(addr),
            Err(why) => report.error(field("ip"), format!("{why}; it is not served")),
        }
    }
    found
}

fn external(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (i, text) in spec.external_ips.iter().flatten().enumerate() {
        match address(text) {
            Ok(addr) if found.contains(&addr) => {}
            Ok(addr) => found.push(addr),
            Err(why) => report.error(format!("spec.externalIPs[{i}]"), format!("{why}; it is not served")),
        }
    }
    found
}

/// A range that cannot be read lets nobody in, and does not let everybody in for being the only one.
fn ranges(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> Option<Vec<IpNet>> {
    let given = spec.load_balancer_source_ranges.as_deref().filter(|ranges| !ranges.is_empty())?;
    let mut found: Vec<IpNet> = Vec::new();
    for (i, text) in given.iter().enumerate() {
        match text.trim().parse::<IpNet>() {
            Ok(net) => found.push(net.trunc()),
            Err(error) => {
                let field = format!("spec.loadBalancerSourceRanges[{i}]");
                report.error(field, format!("{text:?}: {error}; it lets nobody in"));
            }
        }
    }
    Some(found)
}

fn health_port(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> Option<u16> {
    let given = spec.health_check_node_port.filter(|port| *port != 0)?;
    match port_number(given) {
        Ok(port) => Some(port),
        Err(why) => {
            report.error("spec.healthCheckNodePort", format!("{why}; nobody answers there"));
            None
        }
    }
}
