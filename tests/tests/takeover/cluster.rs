use std::{net::SocketAddr, process::Command, time::Duration};

use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Node},
    probe::Protocol,
};
use serde_json::{Value, json};

pub(crate) const START: Duration = Duration::from_secs(60);

fn pod(name: &str, node: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "t", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"},
        ]}]},
    })
}

/// Servers take questions from friends only, and ask nobody themselves; friends take no questions.
fn policies() -> [Value; 2] {
    let policy = |name: &str, app: &str, spec: Value| {
        let mut policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "t"},
            "spec": spec,
        });
        policy["spec"]["podSelector"] = json!({"matchLabels": {"app": app}});
        policy
    };
    [
        policy(
            "servers",
            "server",
            json!({
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}],
            }),
        ),
        policy(
            "friends",
            "friend",
            json!({
                "policyTypes": ["Ingress", "Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}],
            }),
        ),
    ]
}

/// The Service of all pods with a label, under one address of each family.
pub(crate) fn service(name: &str, app: &str, addresses: [&str; 2]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "t"},
        "spec": {
            "selector": {"app": app}, "clusterIP": addresses[0], "clusterIPs": addresses,
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack",
            "ports": [{"name": "web", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        },
    })
}

/// A routed and a bridged node with servers, friends and strangers, and no agents.
pub(crate) fn build(more: &[Value]) -> Bed {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}})];
    objects.extend(policies());
    for (wiring, node) in [("routed", "node1"), ("bridged", "node2")] {
        for app in ["server", "open", "friend", "stranger"] {
            objects.push(pod(&format!("{wiring}-{app}"), node, app));
        }
    }
    objects.extend_from_slice(more);
    bed.apply(&objects).unwrap();
    bed
}

/// Starts the agents, and returns when their policies are in force.
pub(crate) fn start(bed: &mut Bed) {
    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.await_agents(START).unwrap();
}

/// Gives every node a rule that has its netfilter follow connections, as one with kube-proxy has.
pub(crate) fn follow_connections(bed: &Bed) {
    for node in bed.nodes() {
        for program in ["iptables", "ip6tables"] {
            run(node, program, "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
        }
    }
}

/// Has every node translate a Service's address to a backend's, as kube-proxy does.
pub(crate) fn translate(bed: &Bed, protocol: Protocol, from: SocketAddr, to: SocketAddr) {
    let program = if from.is_ipv4() { "iptables" } else { "ip6tables" };
    let (address, port, protocol) = (from.ip(), from.port(), protocol.name());
    for node in bed.nodes() {
        run(
            node,
            program,
            &format!(
                "-t nat -I PREROUTING -d {address} -p {protocol} --dport {port} -j DNAT --to-destination {to}"
            ),
        );
    }
}

fn run(node: &Node, program: &str, arguments: &str) {
    let output = node.netns.output(Command::new(program).arg("-w").args(arguments.split(' '))).unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
