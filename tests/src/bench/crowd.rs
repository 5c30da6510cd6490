//! The objects of a large cluster, with about as much in them as real ones have.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// How many of each kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    pub(super) pods: usize,
    pub(super) services: usize,
    pub(super) policies: usize,
}

const NAMESPACES: usize = 500;
const NODES: usize = 500;
const APPS: usize = 10;
/// Endpoints of a Service.
pub(super) const ENDPOINTS: usize = 10;

/// Name of a namespace.
pub(super) fn name(n: usize) -> String {
    format!("team-{}", n % NAMESPACES)
}

/// A namespace's metadata.
pub(super) fn namespace(n: usize) -> Value {
    let (name, stage) = (name(n), ["dev", "test", "prod"][n % 3]);
    json!({"name": name, "labels": {"kubernetes.io/metadata.name": name, "stage": stage}})
}

/// A pod's labels.
pub(super) fn labels(n: usize) -> Value {
    json!({
        "app.kubernetes.io/name": app(n), "app.kubernetes.io/part-of": name(n),
        "app.kubernetes.io/version": format!("1.{}.0", n % 7), "pod-template-hash": format!("{:08x}", n / 5),
    })
}

fn app(n: usize) -> String {
    format!("app-{}", n / NAMESPACES % APPS)
}

impl Crowd {
    pub(super) const LARGE: Self = Self { pods: 50_000, services: 10_000, policies: 5_000 };

    pub(super) fn part(self, of: usize) -> Self {
        Self { pods: self.pods / of, services: self.services / of, policies: self.policies / of }
    }

    pub(super) fn endpoints(self) -> usize {
        self.services * ENDPOINTS
    }

    pub(super) fn objects(self) -> impl Iterator<Item = Value> {
        let namespaces = (0..NAMESPACES)
            .map(|n| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace(n)}));
        let nodes = (0..NODES).map(node);
        let services = (0..self.services).flat_map(move |n| [service(n), slice(n, self.pods)]);
        namespaces
            .chain(nodes)
            .chain((0..self.pods).map(pod))
            .chain(services)
            .chain((0..self.policies).map(policy))
    }
}

/// What a server keeps for each writer, and nobody else reads.
fn managed() -> Value {
    json!([{
        "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app.kubernetes.io/name": {}}}, "f:spec": {"f:enableServiceLinks": {}}},
    }])
}

fn node(n: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("far-{n}"), "labels": {"topology.kubernetes.io/zone": format!("zone-{}", n % 3)}, "managedFields": managed()},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("172.30.{}.{}", n / 250, n % 250 + 1)}]},
    })
}

/// One of 64,516 addresses.
fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, (100 + n / 64_516) as u8, (n / 254 % 254) as u8, (n % 254 + 1) as u8)
}

/// Some pod of an application, among so many of all.
pub(super) fn peer(pods: usize, app: usize, which: usize) -> Ipv4Addr {
    let rounds = pods / (NAMESPACES * APPS);
    address(app * NAMESPACES + which % NAMESPACES + which % rounds.max(1) * NAMESPACES * APPS)
}

pub(super) fn pod_name(n: usize) -> String {
    format!("{}-{n:08x}", app(n))
}

pub(super) fn pod(n: usize) -> Value {
    let address = address(n);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod_name(n), "namespace": name(n), "labels": labels(n), "managedFields": managed(),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app(n), "uid": "0", "controller": true}],
        },
        "spec": {
            "nodeName": format!("far-{}", n % NODES), "serviceAccountName": "default", "restartPolicy": "Always",
            "containers": [{
                "name": "app", "image": "registry.example/app:1.0.0",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            }],
        },
        "status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": [{"name": "app", "ready": true, "restartCount": 0, "image": "registry.example/app:1.0.0", "imageID": "sha256:0", "containerID": "containerd://0"}],
        },
    })
}

fn service(n: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("service-{n}"), "namespace": name(n), "labels": {"app": app(n)}, "managedFields": managed()},
        "spec": {
            "type": "ClusterIP", "clusterIP": cluster_ip(n), "clusterIPs": [cluster_ip(n)], "selector": {"app.kubernetes.io/name": app(n)},
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}, {"name": "metrics", "port": 9090, "targetPort": "metrics", "protocol": "TCP"}],
        },
    })
}

pub(super) fn cluster_ip(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, (1 + n / 254) as u8, (n % 254 + 1) as u8)
}

/// The slice of a Service, with another address in place of that of its first endpoint.
pub(super) fn slice_with(n: usize, pods: usize, first: Ipv4Addr) -> Value {
    let mut slice = slice(n, pods);
    slice["endpoints"][0]["addresses"] = json!([first]);
    slice
}

fn slice(n: usize, pods: usize) -> Value {
    let endpoints: Vec<Value> = (0..ENDPOINTS)
        .map(|k| {
            let pod = (n * ENDPOINTS + k) % pods;
            json!({
                "addresses": [address(pod)], "nodeName": format!("far-{}", pod % NODES), "zone": format!("zone-{}", pod % 3),
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": name(pod), "name": pod_name(pod), "uid": "0"},
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("service-{n}-abcde"), "namespace": name(n), "managedFields": managed(),
            "labels": {"kubernetes.io/service-name": format!("service-{n}"), "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
        },
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "metrics", "port": 9090, "protocol": "TCP"}],
    })
}

fn policy(n: usize) -> Value {
    let other = app(n + NAMESPACES);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("policy-{n}"), "namespace": name(n), "managedFields": managed()},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": app(n)}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": other}}}], "ports": [{"port": 8080}]},
                {"from": [{"namespaceSelector": {"matchLabels": {"stage": "prod"}}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": other}}}], "ports": [{"port": "metrics"}]},
            ],
            "egress": [
                {"to": [{"podSelector": {}}]},
                {"to": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": [format!("192.0.2.{}/32", n % 250)]}}], "ports": [{"port": 443}]},
            ],
        },
    })
}
