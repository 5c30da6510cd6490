//! Processes of the node itself and Services: what their sockets reach, and what they are shown of it.

mod client;
mod life;
mod reach;
mod versions;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use netpol_tests::bed::{AgentOptions, Bed, ClusterSpec, Netns};
use serde_json::{Value, json};

pub(crate) const START: Duration = Duration::from_secs(30);
pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const TCP: u16 = 80;
pub(crate) const UDP: u16 = 53;
/// More than it takes to see three backends, but for one run in a billion.
pub(crate) const MANY: usize = 60;

pub(crate) fn pod(name: &str, node: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 8080}, {"containerPort": 5353, "protocol": "UDP"},
        ]}]},
    })
}

pub(crate) fn service(name: &str, addresses: [&str; 2]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "t"},
        "spec": {"clusterIPs": addresses, "selector": {"app": name}, "ports": [
            {"name": "http", "port": TCP, "targetPort": 8080},
            {"name": "dns", "port": UDP, "targetPort": 5353, "protocol": "UDP"},
        ]},
    })
}

/// Two nodes with two backends of `web` here and one there, a Service without any, and a client.
pub(crate) fn build() -> Bed {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.apply(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
        service("web", ["10.96.0.21", "fd00:10:96::21"]),
        service("empty", ["10.96.0.22", "fd00:10:96::22"]),
        pod("a", "node1", "web"),
        pod("b", "node1", "web"),
        pod("c", "node2", "web"),
        pod("client", "node1", "client"),
    ])
    .unwrap();
    bed.await_agents(START).unwrap();
    bed
}

pub(crate) fn node(bed: &Bed) -> &Netns {
    &bed.node("node1").unwrap().netns
}

/// The Service's addresses with one of its ports.
pub(crate) fn at(bed: &Bed, service: &str, port: u16) -> Vec<SocketAddr> {
    let addresses: Vec<IpAddr> = bed.service_addresses("t", service).unwrap();
    assert_eq!(addresses.len(), 2, "one of each family");
    addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
}

/// Tries again until it works and is as it should be.
#[track_caller]
pub(crate) fn settle<T: std::fmt::Debug>(
    what: &str,
    attempt: impl Fn() -> io::Result<T>,
    right: impl Fn(&io::Result<T>) -> bool,
) -> io::Result<T> {
    let deadline = Instant::now() + SOON;
    loop {
        let result = attempt();
        if right(&result) {
            return result;
        }
        assert!(Instant::now() < deadline, "{what}: {result:?}");
    }
}
