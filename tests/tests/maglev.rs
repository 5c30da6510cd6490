//! Clients outside that come by way of one node and then of another: with Maglev both have the same backend for them.
//!
//! ```text
//! client ── node1, node2 or node3 ── backends on node2 and node3
//! ```

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec},
    probe::{Connection, Outcome, Protocol},
};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);
const BACKENDS: usize = 6;
const SOCKETS: usize = 24;

fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("web-{number}"), "namespace": "t", "labels": {"app": "web"}},
        "spec": {"nodeName": format!("node{}", 2 + number % 2), "containers": [{"name": "c", "ports": [
            {"containerPort": 8080}, {"containerPort": 8080, "protocol": "UDP"},
        ]}]},
    })
}

/// A Service behind the load balancers' addresses that end in `last`; `more` of its specification.
fn service(name: &str, last: u8, more: Value) -> Value {
    let mut spec = json!({
        "type": "LoadBalancer", "selector": {"app": "web"}, "allocateLoadBalancerNodePorts": false,
        "clusterIPs": [format!("10.96.0.{last}"), format!("fd00:10:96::{last}")],
        "ports": [
            {"name": "tcp", "port": 80, "targetPort": 8080},
            {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"},
        ],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "t", "annotations": {"netpol.dev/load-balancing": "maglev"}},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": [
            {"ip": format!("198.18.1.{last}")}, {"ip": format!("2001:db8:113:1::{last}")},
        ]}},
    })
}

fn build() -> Bed {
    let nodes = [("node1", Cni::Ptp), ("node2", Cni::Ptp), ("node3", Cni::Bridge)];
    let mut bed = Bed::build(&ClusterSpec {
        nodes: nodes.map(|(name, cni)| NodeSpec::new(name, cni)).into(),
        outside: vec!["client".to_owned()],
        ..ClusterSpec::default()
    })
    .unwrap();
    bed.start_agents(&AgentOptions::default()).unwrap();
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
        service("any", 1, json!({})),
        service("kept", 2, json!({"sessionAffinity": "ClientIP"})),
        service("local", 3, json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30103})),
    ];
    objects.extend((0..BACKENDS).map(pod));
    bed.apply(&objects).unwrap();
    bed.await_agents(START).unwrap();
    bed
}

/// From now on the client comes by way of this node.
fn by_way_of(bed: &Bed, node: &str) {
    let (client, node, first) = (bed.outside("client").unwrap(), bed.node(node).unwrap(), &bed.nodes()[0]);
    let routes = first.load_balancer_ranges.iter().zip(&node.addresses);
    let routes = routes.map(|(range, via)| format!("route replace {range} via {via}"));
    client.netns.ip(&routes.collect::<Vec<_>>()).unwrap();
}

fn address(bed: &Bed, service: &str, family: Family) -> SocketAddr {
    let addresses: Vec<IpAddr> = bed.load_balancer_addresses("t", service).unwrap();
    let addr = addresses.into_iter().find(|addr| Family::of(*addr) == family).unwrap();
    SocketAddr::new(addr, 80)
}

fn connect(bed: &Bed, protocol: Protocol, to: SocketAddr) -> Connection {
    let _runtime = bed.runtime().enter();
    Connection::prepare(&bed.outside("client").unwrap().netns, protocol, to).unwrap()
}

/// Who answers the next request.
fn ask(bed: &Bed, connection: &mut Connection) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bed.runtime().block_on(connection.exchange(0, Duration::from_secs(1))) {
            Outcome::Answered(Some(reply)) => return reply.pod,
            // The first datagrams after a change of the route may meet a neighbour that is not resolved yet.
            Outcome::Silent if Instant::now() < deadline => {}
            other => panic!("{other:?} from {}", connection.source()),
        }
    }
}

#[test]
fn when_a_node_dies_the_next_datagram_by_another_one_finds_its_backend() {
    let mut bed = build();
    by_way_of(&bed, "node1");
    let mut sockets: Vec<(Connection, String)> = Vec::new();
    for family in Family::ALL {
        for _ in 0..SOCKETS {
            let mut socket = connect(&bed, Protocol::Udp, address(&bed, "any", family));
            let pod = ask(&bed, &mut socket);
            sockets.push((socket, pod));
        }
    }
    let seen: std::collections::BTreeSet<&String> = sockets.iter().map(|(_, pod)| pod).collect();
    assert!(seen.len() > BACKENDS / 2, "they are spread: {seen:?}");
    bed.take_agent("node1").unwrap().kill().unwrap();
    bed.clean_up_node("node1").unwrap();
    bed.node("node1").unwrap().netns.ip(&["link set eth0 down".to_owned()]).unwrap();
    for node in ["node2", "node3"] {
        by_way_of(&bed, node);
        for (socket, pod) in &mut sockets {
            assert_eq!(ask(&bed, socket), *pod, "{} by way of {node}", socket.source());
        }
    }
}

#[test]
fn with_affinity_every_node_has_the_same_backend_for_a_client() {
    let bed = build();
    for family in Family::ALL {
        let to = address(&bed, "kept", family);
        let mut answered = Vec::new();
        for node in ["node1", "node2", "node3", "node1"] {
            by_way_of(&bed, node);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                answered.extend((0..5).map(|_| ask(&bed, &mut connect(&bed, protocol, to))));
            }
        }
        assert!(answered.iter().all(|pod| *pod == answered[0]), "{family:?}: {answered:?}");
    }
}

#[test]
fn a_node_that_has_forgotten_its_connections_goes_on_with_them() {
    let mut bed = build();
    by_way_of(&bed, "node2");
    let mut connections: Vec<(Connection, String)> = Vec::new();
    for family in Family::ALL {
        for service in ["local", "local", "local", "local"] {
            let mut connection = connect(&bed, Protocol::Tcp, address(&bed, service, family));
            let pod = ask(&bed, &mut connection);
            connections.push((connection, pod));
        }
    }
    bed.take_agent("node2").unwrap().kill().unwrap();
    // Programs, tables and all that they knew.
    bed.clean_up_node("node2").unwrap();
    bed.start_agent("node2", &AgentOptions::default()).unwrap();
    bed.await_agents(START).unwrap();
    for (connection, pod) in &mut connections {
        assert_eq!(ask(&bed, connection), *pod, "{}", connection.source());
    }
}
