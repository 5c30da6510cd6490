use ipnet::IpNet;
use k8s_openapi::api::{core::v1, networking::v1::ServiceCIDR};

use super::{address, mode::mode, name_of, report::Report};
use crate::model::{Labels, NAMESPACE_LABEL, Namespace, Node, ServiceCidr};

pub(super) fn namespace(object: &v1::Namespace, report: &mut Report<'_>) -> Namespace {
    let name = name_of(&object.metadata).name.to_string();
    let mut labels = object.metadata.labels.clone().unwrap_or_default();
    labels.insert(NAMESPACE_LABEL.to_owned(), name.clone());
    let (meta, phase) = (&object.metadata, object.status.as_ref().and_then(|s| s.phase.as_deref()));
    Namespace {
        name,
        labels: Labels::new(labels),
        mode: mode(meta, report),
        created_s: meta.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
        terminating: meta.deletion_timestamp.is_some() || phase == Some("Terminating"),
        terminating_since_s: meta.deletion_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
    }
}

/// The taint of a node that the cluster autoscaler is about to remove.
const LEAVING: &str = "ToBeDeletedByClusterAutoscaler";

pub(super) fn node(object: &v1::Node, report: &mut Report<'_>) -> Node {
    let mut addresses = Vec::new();
    let listed = object.status.as_ref().and_then(|s| s.addresses.as_deref()).unwrap_or_default();
    for (i, entry) in listed.iter().enumerate() {
        if !matches!(entry.type_.as_str(), "InternalIP" | "ExternalIP") {
            continue;
        }
        match address(&entry.address) {
            Ok(addr) => addresses.push((entry.type_.as_str() != "InternalIP", addr)),
            Err(why) => {
                report.error(format!("status.addresses[{i}].address"), format!("{why}; it is left out"));
            }
        }
    }
    addresses.sort_by_key(|(outer, _)| *outer);
    let addresses = addresses.into_iter().map(|(_, addr)| addr).collect();
    let zone = object.metadata.labels.as_ref().and_then(|labels| labels.get("topology.kubernetes.io/zone"));
    let taints = object.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let leaving =
        object.metadata.deletion_timestamp.is_some() || taints.iter().any(|taint| taint.key == LEAVING);
    Node {
        name: name_of(&object.metadata).name.to_string(),
        addresses,
        leaving,
        zone: zone.cloned().unwrap_or_default(),
    }
}

pub(super) fn service_cidr(object: &ServiceCIDR, report: &mut Report<'_>) -> ServiceCidr {
    let mut nets = Vec::new();
    let listed = object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
    for (i, text) in listed.iter().enumerate() {
        match text.trim().parse::<IpNet>() {
            Ok(net) => nets.push(net.trunc()),
            Err(error) => {
                report.error(format!("spec.cidrs[{i}]"), format!("{text:?}: {error}; it is left out"));
            }
        }
    }
    ServiceCidr { name: name_of(&object.metadata).name.to_string(), nets }
}
