//! A shop that was watched, and random clusters.

mod journal;
mod property;
mod simulate;
mod suggest;

use serde_json::{Value, json};

use super::{Observation, ObservedParty};
use crate::{
    flow::Verdict,
    model::{Labels, Workload},
    oracle::World,
    source::manifests,
};

pub(super) const SHOP: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-7d4b9-x2x4z, namespace: shop, labels: {app: web, pod-template-hash: 7d4b9}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.244.1.10}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: db-0
  namespace: shop
  labels: {app: db, statefulset.kubernetes.io/pod-name: db-0, apps.kubernetes.io/pod-index: '0'}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 5432}]}]}
status: {podIPs: [{ip: 10.244.1.20}]}
";

pub(super) fn world(more: &str) -> World {
    manifests(&format!("{SHOP}---\n{more}")).into_iter().collect()
}

/// A pod, as `namespace/name`, its address and labels, made by a workload unless that is empty.
pub(super) fn pod(name: &str, address: &str, labels: Value, workload: [&str; 2]) -> ObservedParty {
    let (namespace, pod) = name.split_once('/').unwrap();
    let [kind, of] = workload;
    ObservedParty {
        address: address.parse().unwrap(),
        namespace: Some(namespace.into()),
        pod: Some(pod.into()),
        workload: (!kind.is_empty()).then(|| Workload { kind: kind.into(), name: of.into() }.into()),
        labels: Labels::new(serde_json::from_value(labels).unwrap()),
        node: None,
        elsewhere: false,
    }
}

pub(super) fn web() -> ObservedParty {
    let labels = json!({"app": "web", "pod-template-hash": "7d4b9"});
    pod("shop/web-7d4b9-x2x4z", "10.244.1.10", labels, ["Deployment", "web"])
}

pub(super) fn db() -> ObservedParty {
    let labels = json!({"app": "db", "statefulset.kubernetes.io/pod-name": "db-0", "apps.kubernetes.io/pod-index": "0"});
    pod("shop/db-0", "10.244.1.20", labels, ["StatefulSet", "db"])
}

pub(super) fn dns() -> ObservedParty {
    let labels = json!({"k8s-app": "kube-dns", "pod-template-hash": "abc"});
    pod("kube-system/coredns-abc-1", "10.244.2.2", labels, ["Deployment", "coredns"])
}

pub(super) fn outside(address: &str) -> ObservedParty {
    ObservedParty {
        address: address.parse().unwrap(),
        namespace: None,
        pod: None,
        workload: None,
        labels: Labels::default(),
        node: None,
        elsewhere: false,
    }
}

pub(super) fn node(name: &str, address: &str) -> ObservedParty {
    ObservedParty { node: Some(name.into()), ..outside(address) }
}

/// Seen once on node n1, and let through.
pub(super) fn seen(from: ObservedParty, to: ObservedParty, protocol: u8, port: u16) -> Observation {
    let time = "2026-03-01T12:00:00Z".parse().unwrap();
    Observation {
        node: "n1".into(),
        source: from,
        destination: to,
        protocol,
        port,
        verdict: Verdict::Forwarded,
        count: 1,
        first: time,
        last: time,
    }
}
