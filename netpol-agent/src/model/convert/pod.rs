use k8s_openapi::{api::core::v1, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::{address, name_of, port_number, protocol, report::Report};
use crate::model::{Labels, NamedPort, Pod, Workload};

/// Its value is the static pod's UID (`pkg/kubelet/types`, `ConfigMirrorAnnotationKey`).
const MIRROR: &str = "kubernetes.io/config.mirror";
/// What the Deployment controller gives a ReplicaSet's name and pods (`apps/v1`, `DefaultDeploymentUniqueLabelKey`).
const TEMPLATE_HASH: &str = "pod-template-hash";

pub(super) fn pod(object: &v1::Pod, report: &mut Report<'_>) -> Pod {
    let (meta, spec, status) = (&object.metadata, object.spec.as_ref(), object.status.as_ref());
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let phase = status.and_then(|s| s.phase.as_deref());
    Pod {
        name: name_of(meta),
        uid: meta.uid.as_deref().unwrap_or_default().into(),
        mirror_of: meta
            .annotations
            .as_ref()
            .and_then(|a| a.get(MIRROR))
            .map(|uid| Box::new(uid.as_str().into())),
        created_s: meta.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
        node: spec.and_then(|s| s.node_name.as_deref()).filter(|n| !n.is_empty()).map(Into::into),
        labels: Labels::new(meta.labels.clone().unwrap_or_default()),
        workload: workload(meta).map(Into::into),
        addresses: addresses(status, report),
        host_network: spec.and_then(|s| s.host_network).unwrap_or(false),
        ended: matches!(phase, Some("Succeeded" | "Failed")),
        // A pod that says nothing of it is ready: manifests in a folder carry no status.
        ready: conditions.iter().find(|c| c.type_ == "Ready").is_none_or(|c| c.status == "True"),
        terminating: meta.deletion_timestamp.is_some(),
        named_ports: spec.map(|s| named_ports(s, report)).unwrap_or_default().into(),
    }
}

/// Nothing but the pod's own object is asked: of a Job it is not known here whether a CronJob has made it.
fn workload(meta: &ObjectMeta) -> Option<Workload> {
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let deployment = || {
        let hash = meta.labels.as_ref()?.get(TEMPLATE_HASH)?;
        owner.name.strip_suffix(hash)?.strip_suffix('-').filter(|name| !name.is_empty())
    };
    let (kind, name) = match deployment().filter(|_| owner.kind == "ReplicaSet") {
        Some(name) => ("Deployment", name),
        None => (owner.kind.as_str(), owner.name.as_str()),
    };
    Some(Workload { kind: kind.to_owned(), name: name.to_owned() })
}

fn addresses(status: Option<&v1::PodStatus>, report: &mut Report<'_>) -> Vec<std::net::IpAddr> {
    let mut found = Vec::new();
    let Some(status) = status else { return found };
    let listed = status.pod_ips.iter().flatten().enumerate();
    let listed = listed.map(|(i, entry)| (format!("status.podIPs[{i}].ip"), entry.ip.as_str()));
    let single = status.pod_ip.as_deref().map(|ip| ("status.podIP".to_owned(), ip));
    for (field, text) in listed.chain(single).filter(|(_, text)| !text.is_empty()) {
        match address(text) {
            Ok(addr) if found.contains(&addr) => {}
            Ok(addr) => found.push(addr),
            Err(why) => report.error(field, format!("{why}; it is left out")),
        }
    }
    found.shrink_to_fit();
    found
}

fn named_ports(spec: &v1::PodSpec, report: &mut Report<'_>) -> Vec<NamedPort> {
    let containers = spec.containers.iter().enumerate();
    let containers = containers.map(|(i, c)| (format!("spec.containers[{i}]"), c));
    let sidecars = spec.init_containers.iter().flatten().enumerate();
    let sidecars = sidecars
        .filter(|(_, c)| c.restart_policy.as_deref() == Some("Always"))
        .map(|(i, c)| (format!("spec.initContainers[{i}]"), c));
    let mut found: Vec<NamedPort> = Vec::new();
    for (path, container) in containers.chain(sidecars) {
        for (i, port) in container.ports.iter().flatten().enumerate() {
            let Some(name) = port.name.clone().filter(|n| !n.is_empty()) else { continue };
            let path = format!("{path}.ports[{i}]");
            let proto = protocol(port.protocol.as_deref()).map_err(|why| ("protocol", why));
            let number = port_number(port.container_port).map_err(|why| ("containerPort", why));
            match proto.and_then(|proto| Ok(NamedPort { name, proto, port: number? })) {
                Ok(named) if found.contains(&named) => {}
                Ok(named) => found.push(named),
                Err((field, why)) => {
                    report.error(format!("{path}.{field}"), format!("{why}; the port has no name"))
                }
            }
        }
    }
    found
}
