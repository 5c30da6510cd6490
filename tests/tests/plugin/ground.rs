//! A node with an agent, and chains that end with the plugin.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use netpol_agent::ctl::api::EndpointView;
use netpol_tests::{
    bed::{AgentOptions, Bed, Chain, ClusterSpec, Cni, Container, Family, Netns, Node, NodeSpec},
    flows,
};
use serde_json::{Value, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const FORBIDDEN: u16 = 7001;
pub(crate) const ALLOWED: u16 = 7002;

/// Node and outside host, with the agent at work.
pub(crate) fn bed(families: &[Family]) -> Bed {
    let spec = ClusterSpec {
        nodes: vec![NodeSpec::new("node1", Cni::Ptp)],
        outside: vec!["world".to_owned()],
        families: families.to_vec(),
    };
    let mut bed = Bed::build(&spec).unwrap();
    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}})]).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    bed
}

/// `ptp` and then netpol, giving the pod these addresses of the node's ranges.
pub(crate) fn ptp(node: &Node, fixed: &[IpAddr]) -> Chain {
    let ranges: Vec<Value> = node.pod_ranges.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
    let routes = [json!({"dst": "0.0.0.0/0"}), json!({"dst": "::/0"})];
    let routes: Vec<_> =
        node.pod_ranges.iter().map(|range| routes[usize::from(range.addr().is_ipv6())].clone()).collect();
    let ipam =
        json!({"type": "host-local", "dataDir": node.folder.join("cni"), "ranges": ranges, "routes": routes});
    Chain {
        version: "1.0.0".to_owned(),
        plugins: vec![hold(), json!({"type": "ptp", "ipam": ipam}), netpol(node)],
        added: if fixed.is_empty() { json!({}) } else { json!({"args": {"cni": {"ips": fixed}}}) },
    }
}

/// The plugin's own object in a list.
pub(crate) fn netpol(node: &Node) -> Value {
    json!({"type": "netpol-cni", "dir": plugin_dir(node)})
}

/// The same in front, which holds the namespace shut.
pub(crate) fn hold() -> Value {
    json!({"type": "netpol-cni", "hold": true})
}

/// Where agent and plugin meet on a node.
pub(crate) fn plugin_dir(node: &Node) -> PathBuf {
    node.folder.join("plugin")
}

pub(crate) fn container(name: &str, uid: &str, netns: &Netns) -> Container {
    Container::of("t", name, uid, netns.name(), netns.path())
}

/// A Pod as it is when its kubelet begins: bound to the node, and without an address.
pub(crate) fn unstarted(name: &str, uid: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "t", "uid": uid, "labels": {"app": app}},
        "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
        "status": {"phase": "Pending"},
    })
}

pub(crate) fn endpoints(bed: &Bed) -> Vec<EndpointView> {
    flows::endpoints(&bed.agents()[0]).unwrap()
}

/// Who starts may send to the allowed port of the world, and may not be sent to.
pub(crate) fn policy() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "starting", "namespace": "t"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "starting"}}, "policyTypes": ["Ingress", "Egress"],
            "egress": [{"ports": [{"protocol": "UDP", "port": ALLOWED}]}],
        },
    })
}
