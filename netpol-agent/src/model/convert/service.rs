use k8s_openapi::{api::core::v1, apimachinery::pkg::util::intstr::IntOrString};
use netpol_common::net::proto;

use super::{address, name_of, port_number, protocol, report::Report};
use crate::model::{Service, ServicePort, TargetPort};

/// Labels that hand a Service to somebody else.
const FOREIGN: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

pub(super) fn service(object: &v1::Service, report: &mut Report<'_>) -> Service {
    let absent = v1::ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&absent);
    let labels = object.metadata.labels.as_ref();
    let foreign = FOREIGN.iter().any(|key| labels.is_some_and(|l| l.contains_key(*key)));
    let external = spec.type_.as_deref() == Some("ExternalName");
    let addresses = if foreign || external { Vec::new() } else { addresses(spec, report) };
    if !addresses.is_empty() {
        not_yet(spec, report);
    }
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
        ports: if addresses.is_empty() { Vec::new() } else { ports(spec, report) },
        addresses,
        // Unlike a policy, a Service without a selector selects nobody.
        selector: spec.selector.clone().filter(|s| !s.is_empty()),
        local_only,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
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
    found
}

fn not_yet(spec: &v1::ServiceSpec, report: &mut Report<'_>) {
    if let Some(kind @ ("NodePort" | "LoadBalancer")) = spec.type_.as_deref() {
        report.error("spec.type", format!("{kind}: only the cluster addresses are served so far"));
    }
    if spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()) {
        report.error("spec.externalIPs", "they are not served so far");
    }
    if spec.session_affinity.as_deref() == Some("ClientIP") {
        report.error("spec.sessionAffinity", "ClientIP: each connection is balanced by itself so far");
    }
}

fn ports(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> Vec<ServicePort> {
    let mut found: Vec<ServicePort> = Vec::new();
    for (i, entry) in spec.ports.iter().flatten().enumerate() {
        match port(entry) {
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
    found
}

fn port(entry: &v1::ServicePort) -> Result<ServicePort, (&'static str, String)> {
    let proto = protocol(entry.protocol.as_deref()).map_err(|why| ("protocol", why))?;
    if proto == proto::SCTP {
        return Err(("protocol", "SCTP is not translated so far".to_owned()));
    }
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
    Ok(ServicePort { name: entry.name.clone().unwrap_or_default(), proto, port, target })
}
