//! Direct server return: clients outside come to one node, and backends of others answer them directly.
//!
//! ```text
//! client, other ── node1, node2 or node3 ── backends on node2 and node3
//! ```

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use netpol_agent::ctl::api::Status;
use netpol_common::net::proto;
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, Netns, NodeSpec, Place},
    flows,
    packet::{ETHERNET, SYN, tcp},
    probe::{Connection, Outcome, Protocol},
};
use serde_json::{Value, json};
use socket2::{Domain, Type};

use crate::talk::{PATIENCE, namespace, pod};

const NODE_PORT: u16 = 30_080;
const CONNECTIONS: usize = 12;
/// More than the way between the nodes takes with another header around it.
const DATAGRAM: usize = 1400 + 64;
/// A datagram in fragments.
const LONG: usize = 9_000;
const STREAM: usize = 60_000;

fn build(arguments: &[&str]) -> Bed {
    let nodes = [("node1", Cni::Ptp), ("node2", Cni::Ptp), ("node3", Cni::Bridge)];
    let mut bed = Bed::build(&ClusterSpec {
        nodes: nodes.map(|(name, cni)| NodeSpec::new(name, cni)).into(),
        outside: ["client", "other"].map(str::to_owned).into(),
        ..ClusterSpec::default()
    })
    .unwrap();
    let arguments = arguments.iter().map(ToString::to_string).collect();
    bed.start_agents(&AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    let mut objects = vec![namespace(), service(), policy(&bed)];
    objects.extend((0..4).map(web));
    objects.push(pod("bystander", "node1"));
    bed.apply(&objects).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    bed
}

fn web(number: usize) -> Value {
    let mut web = pod(&format!("web-{number}"), &format!("node{}", 2 + number % 2));
    web["metadata"]["labels"] = json!({"app": "web"});
    web
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "t", "annotations": {"netpol.dev/load-balancing": "maglev"}},
        "spec": {
            "type": "LoadBalancer", "selector": {"app": "web"}, "clusterIPs": ["10.96.0.30", "fd00:10:96::30"],
            "ports": [
                {"name": "tcp", "port": 80, "targetPort": 8080, "nodePort": NODE_PORT},
                {"name": "udp", "port": 80, "targetPort": 8080, "nodePort": NODE_PORT, "protocol": "UDP"},
            ],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "198.18.1.30"}, {"ip": "2001:db8:113:1::30"}]}},
    })
}

/// Lets in the client, by its own address, and nobody else: no node either.
fn policy(bed: &Bed) -> Value {
    let host = |addr: &IpAddr| json!({"ipBlock": {"cidr": format!("{addr}/{}", if addr.is_ipv4() { 32 } else { 128 })}});
    let client: Vec<Value> = bed.outside("client").unwrap().addresses.iter().map(host).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "client", "namespace": "t"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": client}]},
    })
}

fn of(addresses: &[IpAddr], family: Family) -> IpAddr {
    *addresses.iter().find(|addr| Family::of(**addr) == family).unwrap()
}

/// The ways into the Service by node1.
fn ways(bed: &Bed, family: Family) -> [SocketAddr; 2] {
    let balancer = bed.load_balancer_addresses("t", "web").unwrap();
    let node = &bed.node("node1").unwrap().addresses;
    [SocketAddr::new(of(node, family), NODE_PORT), SocketAddr::new(of(&balancer, family), 80)]
}

fn connect(bed: &Bed, from: &str, protocol: Protocol, to: SocketAddr) -> Connection {
    let _runtime = bed.runtime().enter();
    Connection::prepare(&bed.outside(from).unwrap().netns, protocol, to).unwrap()
}

/// The pod that answers a request of `size` bytes, and whom it saw. Datagrams that are reported as too big are sent again.
fn ask(bed: &Bed, connection: &mut Connection, size: usize) -> (String, SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bed.runtime().block_on(connection.exchange(size, Duration::from_secs(2))) {
            Outcome::Answered(Some(reply)) => {
                assert!(reply.bytes >= size, "{} of {size}", reply.bytes);
                return (reply.pod, reply.peer);
            }
            Outcome::Silent if Instant::now() < deadline => {}
            // The report is about this very socket: EMSGSIZE.
            Outcome::Broken(why) if why.contains("os error 90") && Instant::now() < deadline => {}
            other => panic!("{other:?} for {size} bytes from {}", connection.source()),
        }
    }
}

/// What the client's kernel has learned about the way to an address.
fn learned_mtu(netns: &Netns, to: IpAddr) -> Option<u32> {
    let output = netns.output(Command::new("ip").args(["route", "get", &to.to_string()])).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().skip_while(|word| *word != "mtu").nth(1).map(|mtu| mtu.parse().unwrap())
}

/// Nothing that goes to the client finds a way out of this node any more.
fn cut_off(bed: &Bed, node: &str) {
    let client = &bed.outside("client").unwrap().addresses;
    let lines: Vec<String> = client.iter().map(|addr| format!("route add blackhole {addr}")).collect();
    bed.node(node).unwrap().netns.ip(&lines).unwrap();
}

fn status(bed: &Bed, node: &str) -> Status {
    flows::status(bed.agents().iter().find(|agent| agent.node == node).unwrap()).unwrap()
}

/// From now on the client comes by way of this node.
fn by_way_of(bed: &Bed, node: &str) {
    let (client, node, first) = (bed.outside("client").unwrap(), bed.node(node).unwrap(), &bed.nodes()[0]);
    let routes = first.load_balancer_ranges.iter().zip(&node.addresses);
    let routes = routes.map(|(range, via)| format!("route replace {range} via {via}"));
    client.netns.ip(&routes.collect::<Vec<_>>()).unwrap();
}

fn direct(arguments: &[&str]) {
    let bed = build(&[&["--external-mode=dsr"], arguments].concat());
    let says = status(&bed, "node1").external_mode;
    assert!(says.starts_with("dsr, from 172.18.0.1") && says.contains("4 addresses"), "{says}");
    let client = &bed.outside("client").unwrap().netns;
    for family in Family::ALL {
        let header = if family == Family::V4 { 20 } else { 40 };
        // Each address has a path MTU of its own to find out: one by datagrams, the other one by streams.
        let [by_node, by_balancer] = ways(&bed, family);
        for (to, first) in [(by_node, Protocol::Udp), (by_balancer, Protocol::Tcp)] {
            let mut connection = connect(&bed, "client", first, to);
            let size = if first == Protocol::Udp { DATAGRAM } else { STREAM };
            assert_eq!(ask(&bed, &mut connection, size).1, connection.source());
            assert_eq!(learned_mtu(client, to.ip()), Some(1500 - header), "{first:?} to {to}");
            ask(&bed, &mut connect(&bed, "client", Protocol::Udp, to), LONG);
        }
    }
    cut_off(&bed, "node1");
    for family in Family::ALL {
        for to in ways(&bed, family) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for _ in 0..CONNECTIONS {
                    let mut connection = connect(&bed, "client", protocol, to);
                    let (pod, seen) = ask(&bed, &mut connection, 0);
                    assert_eq!(seen, connection.source(), "{pod} sees the client itself");
                    ask(&bed, &mut connection, STREAM);
                }
                let mut other = connect(&bed, "other", protocol, to);
                let outcome = bed.runtime().block_on(other.exchange(0, Duration::from_millis(300)));
                assert_eq!(outcome, Outcome::Silent, "{protocol:?} to {to}");
            }
        }
    }
    for node in ["node2", "node3"] {
        let policy = status(&bed, node).packets.iter().any(|count| count.verdict == "policy");
        assert!(policy, "{node} judges whom its pods see");
    }
}

#[test]
fn backends_elsewhere_see_the_client_and_answer_it_past_the_node_that_it_asked() {
    direct(&[]);
}

#[test]
fn so_they_do_without_tcx_and_fast_path() {
    direct(&["--attach=clsact", "--fast-path=off"]);
}

#[test]
fn when_the_node_that_it_asked_dies_a_connection_goes_on_by_another_one() {
    let mut bed = build(&["--external-mode=dsr"]);
    let mut open = Vec::new();
    for family in Family::ALL {
        let [_, to] = ways(&bed, family);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for _ in 0..CONNECTIONS {
                let mut connection = connect(&bed, "client", protocol, to);
                let (pod, _) = ask(&bed, &mut connection, 0);
                open.push((connection, pod));
            }
        }
    }
    bed.take_agent("node1").unwrap().kill().unwrap();
    bed.clean_up_node("node1").unwrap();
    bed.node("node1").unwrap().netns.ip(&["link set eth0 down".to_owned()]).unwrap();
    for node in ["node2", "node3"] {
        by_way_of(&bed, node);
        for (connection, pod) in &mut open {
            let (now, seen) = ask(&bed, connection, 0);
            assert_eq!((&now, seen), (&*pod, connection.source()), "by way of {node}");
        }
    }
}

#[test]
fn what_no_node_has_sent_on_is_dropped_and_counted() {
    let bed = build(&["--external-mode=dsr"]);
    let other = bed.outside("other").unwrap();
    let count = || {
        let status = status(&bed, "node2");
        let mut counts = status.packets.iter().filter(|count| count.verdict == "encapsulation");
        counts.next().map_or(0, |count| count.packets)
    };
    for family in Family::ALL {
        let before = count();
        let pod = of(&bed.pod("t/web-0").unwrap().addresses, family);
        let [asked, _] = ways(&bed, family);
        // In the client's name, whom the policy lets in.
        let client = SocketAddr::new(of(&bed.outside("client").unwrap().addresses, family), 4000);
        let packet = tcp(client, asked, SYN, b"");
        let number = if pod.is_ipv4() { proto::IPV4 } else { proto::IPV6 };
        let to = SocketAddr::new(pod, 0);
        let socket =
            other.netns.socket(Domain::for_address(to), Type::RAW, Some(i32::from(number).into())).unwrap();
        socket.send_to(&packet[ETHERNET..], &to.into()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while count() == before {
            assert!(Instant::now() < deadline, "{family:?}: nothing is counted");
        }
        // A pod is stopped on its own node.
        let bystander = bed.netns(&Place::Pod("t/bystander".to_owned())).unwrap();
        let socket =
            bystander.socket(Domain::for_address(to), Type::RAW, Some(i32::from(number).into())).unwrap();
        socket.send_to(&packet[ETHERNET..], &to.into()).unwrap();
        let stopped = || {
            status(&bed, "node1")
                .packets
                .iter()
                .any(|count| count.verdict == "encapsulation" && count.direction == "egress")
        };
        while !stopped() {
            assert!(Instant::now() < deadline, "{family:?}: nothing is counted at the pod");
        }
    }
}
