//! Path MTU discovery through a Service: whoever reports that a packet is too big quotes what was on the wire, and the
//! client must read of what it sent.
//!
//! ```text
//! node1 ── router ─ 1300 bytes ─ node2
//! ```
//!
//! Towards node2 it is the router that reports, towards node1 it is the sender's own node. Clients outside ask one node for a
//! server of the other one.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Family, Place},
    probe::{Attempt, Outcome, Protocol},
};
use serde_json::{Value, json};

const NARROW: u32 = 1300;
/// Fits the pods' own interfaces, so that it leaves in one piece, not to be fragmented; but not the way.
const DATAGRAM: usize = 1400;
const STREAM: usize = 60_000;
/// Node ports of the Services with a server on that node.
const OF_NODE1: u16 = 30_011;
const OF_NODE2: u16 = 30_012;
/// The narrow half of the way, with an address of node2 that its answers come back to.
const BEHIND: [&str; 2] = ["192.168.77.0/24", "fd00:77::/64"];
const PATIENCE: Duration = Duration::from_secs(20);

fn pod(name: &str, node: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 8080}, {"containerPort": 5353, "protocol": "UDP"},
        ]}]},
    })
}

/// What goes where, and nothing else: no rule speaks of ICMP.
fn policy(app: &str, rules: Value) -> Value {
    let mut spec =
        json!({"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress", "Egress"]});
    spec.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": app, "namespace": "t"}, "spec": spec,
    })
}

fn objects() -> Vec<Value> {
    let service = |node: &str, addresses: [&str; 2], node_port: u16| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("of-{node}"), "namespace": "t"},
            "spec": {"type": "NodePort", "clusterIPs": addresses, "selector": {"app": "server", "node": node}, "ports": [
                {"name": "http", "port": 80, "targetPort": 8080, "nodePort": node_port},
                {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP", "nodePort": node_port},
            ]},
        })
    };
    let ports = json!([{"port": 8080}, {"port": 5353, "protocol": "UDP"}]);
    let peers = |app: &str| json!([{"podSelector": {"matchLabels": {"app": app}}}]);
    let mut from_anywhere = peers("client");
    // The nodes, in whose name clients outside come.
    let nodes = ["172.18.0.0/24", "fd00:172:18::/64"].into_iter().chain(BEHIND);
    from_anywhere.as_array_mut().unwrap().extend(nodes.map(|cidr| json!({"ipBlock": {"cidr": cidr}})));
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
        service("node1", ["10.96.0.11", "fd00:10:96::11"], OF_NODE1),
        service("node2", ["10.96.0.12", "fd00:10:96::12"], OF_NODE2),
        policy("client", json!({"egress": [{"to": peers("server"), "ports": ports}]})),
        policy("server", json!({"ingress": [{"from": from_anywhere, "ports": ports}]})),
    ];
    for node in ["node1", "node2"] {
        // Each has a path MTU of its own to find out.
        objects.extend(["tcp", "udp"].map(|client| pod(&format!("{client}-{node}"), node, "client")));
        let mut server = pod(&format!("server-{node}"), node, "server");
        server["metadata"]["labels"]["node"] = json!(node);
        objects.push(server);
    }
    objects
}

/// Leads the way between the nodes over the router, and makes its second half narrow.
fn narrow(bed: &Bed) {
    let (router, node1, node2) =
        (bed.outside("router").unwrap(), bed.node("node1").unwrap(), bed.node("node2").unwrap());
    router.netns.set_sysctls(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]).unwrap();
    let end = |number: u8| [format!("192.168.77.{number}"), format!("fd00:77::{number}")];
    let addresses = |number: u8| {
        let [v4, v6] = end(number);
        [format!("addr add {v4}/24 dev narrow"), format!("addr add {v6}/64 dev narrow nodad")]
    };
    let up = "link set narrow up".to_owned();
    let path = node2.netns.path().display();
    let link = format!("link add narrow mtu {NARROW} type veth peer name narrow mtu {NARROW} netns {path}");
    let routes = |ranges: &[ipnet::IpNet], via: [String; 2]| {
        ranges
            .iter()
            .zip(via)
            .map(|(range, via)| format!("route replace {range} via {via}"))
            .collect::<Vec<_>>()
    };
    let behind = BEHIND.map(|range| range.parse().unwrap());
    let on_router: [String; 2] =
        router.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().try_into().unwrap();
    router.netns.ip(&[&[link, up.clone()][..], &addresses(1)].concat()).unwrap();
    node2.netns.ip(&[&[up][..], &addresses(2), &routes(&node1.pod_ranges, end(1))].concat()).unwrap();
    router.netns.ip(&routes(&node2.pod_ranges, end(2))).unwrap();
    node1.netns.ip(&routes(&behind, on_router.clone())).unwrap();
    node1.netns.ip(&routes(&node2.pod_ranges, on_router)).unwrap();
}

fn ask(
    bed: &Bed,
    from: &Place,
    protocol: Protocol,
    to: SocketAddr,
    size: usize,
    timeout: Duration,
) -> Outcome {
    let from = bed.netns(from).unwrap();
    bed.runtime().block_on(Attempt { from, protocol, to, size, timeout }.make()).1
}

/// What the kernel of a place has learned about the way to an address.
fn learned_mtu(bed: &Bed, from: &Place, to: IpAddr) -> Option<u32> {
    let netns = bed.netns(from).unwrap();
    let output = netns.output(Command::new("ip").args(["route", "get", &to.to_string()])).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mtu = text.split_whitespace().skip_while(|word| *word != "mtu").nth(1);
    mtu.map(|number| number.parse().unwrap())
}

fn address(bed: &Bed, pod: &str, family: Family) -> IpAddr {
    *bed.pod(pod).unwrap().addresses.iter().find(|a| Family::of(**a) == family).unwrap()
}

/// The client learns it for the address that it dialled, not for one that it has never heard of; the server, whose big
/// answers are reported too, for the client's.
#[track_caller]
fn assert_learned(bed: &Bed, client: &str, service: IpAddr, server: &str) {
    let family = Family::of(service);
    let [at_client, at_server] = [client, server].map(|name| Place::Pod(name.to_owned()));
    assert_eq!(learned_mtu(bed, &at_client, service), Some(NARROW), "{client} to {service}");
    assert_eq!(learned_mtu(bed, &at_client, address(bed, server, family)), None, "{client} to {server}");
    assert_eq!(
        learned_mtu(bed, &at_server, address(bed, client, family)),
        Some(NARROW),
        "{server} to {client}"
    );
}

fn discover(arguments: &[&str]) {
    let spec =
        ClusterSpec { outside: ["router", "tcp", "udp"].map(str::to_owned).into(), ..ClusterSpec::default() };
    let mut bed = Bed::build(&spec).unwrap();
    let arguments = arguments.iter().map(ToString::to_string).collect();
    bed.start_agents(&AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    bed.apply(&objects()).unwrap();
    narrow(&bed);
    bed.await_agents(PATIENCE).unwrap();

    for (here, there) in [("node1", "node2"), ("node2", "node1")] {
        let server = format!("t/server-{there}");
        for service in bed.service_addresses("t", &format!("of-{there}")).unwrap() {
            let client = format!("t/tcp-{here}");
            stream(&bed, &Place::Pod(client.clone()), SocketAddr::new(service, 80), &server);
            assert_learned(&bed, &client, service, &server);

            let client = format!("t/udp-{here}");
            datagram(&bed, &Place::Pod(client.clone()), SocketAddr::new(service, 53), &server);
            assert_learned(&bed, &client, service, &server);
        }
        let node_port = if there == "node1" { OF_NODE1 } else { OF_NODE2 };
        for node in &bed.node(here).unwrap().addresses {
            // Each has a path MTU of its own to find out.
            for (client, protocol) in [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)] {
                let (client, to) = (Place::Outside(client.to_owned()), SocketAddr::new(*node, node_port));
                match protocol {
                    Protocol::Udp => datagram(&bed, &client, to, &server),
                    _ => stream(&bed, &client, to, &server),
                }
                assert_eq!(learned_mtu(&bed, &client, *node), Some(NARROW), "{client:?} to {to}");
            }
        }
    }
}

fn stream(bed: &Bed, client: &Place, to: SocketAddr, server: &str) {
    let outcome = ask(bed, client, Protocol::Tcp, to, STREAM, PATIENCE);
    let Outcome::Answered(Some(reply)) = &outcome else { panic!("{client:?} to {to}: {outcome:?}") };
    assert_eq!((reply.pod.as_str(), reply.bytes), (server, STREAM));
}

fn datagram(bed: &Bed, client: &Place, to: SocketAddr, server: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut tries = 0;
    // The datagram that is reported is lost, and so is the first answer; the next ones come in fragments.
    loop {
        tries += 1;
        assert!(Instant::now() < deadline, "{client:?} to {to}: no answer");
        match ask(bed, client, Protocol::Udp, to, DATAGRAM, Duration::from_millis(500)) {
            Outcome::Answered(Some(reply)) => {
                break assert_eq!((reply.pod.as_str(), reply.bytes), (server, DATAGRAM));
            }
            // The report is about this very socket: EMSGSIZE.
            Outcome::Broken(why) if why.contains("os error 90") => {}
            Outcome::Silent => {}
            other => panic!("{client:?} to {to}: {other:?}"),
        }
    }
    assert!(tries > 1, "{client:?} to {to}: the way is not narrow");
}

#[test]
fn reports_of_too_big_packets_reach_who_sent_them_as_they_sent_them() {
    discover(&[]);
}

#[test]
fn so_they_do_without_tcx_and_fast_path() {
    discover(&["--attach=clsact", "--fast-path=off"]);
}
