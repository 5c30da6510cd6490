//! Packets between pods of two nodes go past the nodes' own forwarding as long as nothing there matters to them, and by it as soon as
//! something does. On nodes of both plugins.

use std::{net::SocketAddr, process::Command, time::Duration};

use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Family, Netns},
    eventually,
    flows::status,
    probe::{Connection, Outcome, Protocol},
};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(5);
/// How soon the agent has found what is new on the node's way (`docs/packet-path.md`), with as much again for a busy machine.
const SOON: Duration = Duration::from_secs(2);
/// How long no answer is none.
const SILENCE: Duration = Duration::from_millis(300);
/// Requests of each connection, so that a packet on the other way is no chance.
const ROUNDS: u64 = 20;

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"},
        ]}]},
    })
}

/// Every pod, and what it may send to and receive from: pods with the label `app` of these names.
fn policy(peers: &[&str]) -> Value {
    let peers = json!([{"podSelector": {"matchExpressions": [
        {"key": "app", "operator": "In", "values": peers},
    ]}}]);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "all", "namespace": "t"},
        "spec": {"podSelector": {}, "ingress": [{"from": peers}], "egress": [{"to": peers}], "policyTypes": ["Ingress", "Egress"]},
    })
}

/// A connection of each kind, in each direction between the nodes, in each family.
fn connect(bed: &Bed) -> Vec<(Family, Connection)> {
    let _within = bed.runtime().enter();
    let mut connections = Vec::new();
    for (from, to) in [("t/routed", "t/bridged"), ("t/bridged", "t/routed")] {
        for family in Family::ALL {
            for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
                let (from, to) = (bed.pod(from).unwrap(), bed.pod(to).unwrap());
                let addr = to.addresses.iter().find(|addr| Family::of(**addr) == family).unwrap();
                let to = SocketAddr::new(*addr, port);
                connections.push((family, Connection::prepare(&from.netns, protocol, to).unwrap()));
            }
        }
    }
    connections
}

#[track_caller]
fn answered(bed: &Bed, connections: &mut [(Family, Connection)], rounds: u64) {
    for (family, connection) in connections {
        for _ in 0..rounds {
            let outcome = bed.runtime().block_on(connection.exchange(64, ANSWER));
            assert!(
                matches!(outcome, Outcome::Answered(_)),
                "{family:?} {}: {outcome:?}",
                connection.source()
            );
        }
    }
}

/// How many packets the node has forwarded by itself, IPv4 and IPv6.
fn forwarded(netns: &Netns) -> [u64; 2] {
    let read = |file: &str| {
        let path = format!("/proc/thread-self/net/{file}");
        netns.enter(|| Ok(std::fs::read_to_string(&path)?)).unwrap()
    };
    let four = read("snmp");
    let mut lines = four.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split(' ').zip(numbers.split(' '));
    let (_, four) = columns.find(|(name, _)| *name == "ForwDatagrams").unwrap();
    let six = read("snmp6");
    let six = six.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")).unwrap();
    [four, six].map(|number| number.trim().parse().unwrap())
}

/// How many packets a node forwards by itself while all connections ask something.
fn meanwhile(bed: &Bed, node: &str, connections: &mut [(Family, Connection)]) -> [u64; 2] {
    let netns = &bed.node(node).unwrap().netns;
    let before = forwarded(netns);
    answered(bed, connections, ROUNDS);
    let after = forwarded(netns);
    [after[0] - before[0], after[1] - before[1]]
}

#[track_caller]
fn await_status(bed: &Bed, node: &str, wanted: &str) {
    let agent = bed.agents().iter().find(|agent| agent.node == node).unwrap();
    let mut said = String::new();
    eventually(SOON, wanted, || {
        said = status(agent).unwrap().across_nodes;
        if said != wanted {
            eprintln!("{node}: {said}");
        }
        said == wanted
    });
}

/// The interface of the node's one pod, which is a port of its bridge.
fn port(netns: &Netns) -> String {
    let listed =
        netns.output(Command::new("ip").args(["-oneline", "link", "show", "type", "bridge_slave"])).unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().find_map(|line| line.split([' ', '@']).nth(1)).unwrap().to_owned()
}

fn nft(netns: &Netns, rules: &str) {
    netns.feed(Command::new("nft").args(["-f", "-"]), rules).unwrap();
}

fn build(arguments: &[&str]) -> Bed {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let arguments = arguments.iter().map(ToString::to_string).collect();
    bed.start_agents(&AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    bed.apply(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
        policy(&["routed", "bridged"]),
        pod("routed", "node1"),
        pod("bridged", "node2"),
    ])
    .unwrap();
    bed.await_agents(START).unwrap();
    bed
}

fn goes_past_what_does_not_matter(arguments: &[&str]) {
    let mut bed = build(arguments);
    for node in ["node1", "node2"] {
        await_status(&bed, node, "on");
    }
    let mut connections = connect(&bed);
    // The first packets are judged where they arrive.
    answered(&bed, &mut connections, 1);
    for node in ["node1", "node2"] {
        assert_eq!(meanwhile(&bed, node, &mut connections), [0, 0], "{node} forwards nothing by itself");
    }

    // What may matter to IPv4 alone, to both families, and to nobody.
    let netns = bed.node("node1").unwrap().netns.clone();
    let requests = ROUNDS * connections.len() as u64 / 2;
    nft(&netns, "table ip t {\nchain c {\ntype filter hook forward priority 0; counter;\n}\n}");
    await_status(&bed, "node1", "IPv4 off: nftables chain ip t c has rules; IPv6 on");
    let [four, six] = meanwhile(&bed, "node1", &mut connections);
    assert!(four >= 2 * requests && six == 0, "{four} and {six} packets of {requests} requests and answers");
    assert_eq!(meanwhile(&bed, "node2", &mut connections), [0, 0], "the other node has no rules");
    nft(
        &netns,
        "delete table ip t
        table inet t {
            chain c { type filter hook input priority 0; policy accept; counter; }
            chain d { counter; }
            chain e { type filter hook postrouting priority 0; policy accept; }
        }",
    );
    await_status(&bed, "node1", "on");
    assert_eq!(meanwhile(&bed, "node1", &mut connections), [0, 0], "on again");

    netns.set_sysctls(&[("ipv6/conf/all/forwarding", "0"), ("ipv4/conf/eth0/rp_filter", "1")]).unwrap();
    let off = "IPv4 off: net.ipv4.conf.eth0.rp_filter is 1; IPv6 off: net.ipv6.conf.all.forwarding is not 1";
    await_status(&bed, "node1", off);
    netns.set_sysctls(&[("ipv6/conf/all/forwarding", "1"), ("ipv4/conf/eth0/rp_filter", "2")]).unwrap();
    await_status(&bed, "node1", "on");

    let bridged = bed.node("node2").unwrap().netns.clone();
    let tc = |words: &str| {
        // A classic program, which takes no packet for its own.
        let words = words.split(' ').map(|word| if word == "NOTHING" { "1,6 0 0 0" } else { word });
        let done = bridged.output(Command::new("tc").args(words)).unwrap();
        assert!(done.status.success(), "tc: {}", String::from_utf8_lossy(&done.stderr));
    };
    let veth = port(&bridged);
    tc(&format!("qdisc add dev {veth} root tbf rate 1gbit burst 64kb latency 50ms"));
    await_status(&bed, "node2", &format!("off: a queue (tbf) limits a pod on {veth}"));
    tc(&format!("qdisc del dev {veth} root"));
    if arguments.is_empty() {
        tc("qdisc add dev eth0 clsact");
    }
    tc("filter add dev eth0 ingress prio 7 bpf bytecode NOTHING");
    await_status(&bed, "node2", "off: another program is behind netpol's on eth0");
    tc("filter del dev eth0 ingress prio 7");
    await_status(&bed, "node2", "on");

    // Policy holds as on any way.
    bed.apply(&[policy(&["routed"])]).unwrap();
    bed.await_sync(std::time::Instant::now() + START);
    for (family, connection) in &mut connections {
        eventually(ANSWER, "a revoked connection is silent", || {
            let outcome = bed.runtime().block_on(connection.exchange(64, SILENCE));
            assert!(matches!(outcome, Outcome::Answered(_) | Outcome::Silent), "{family:?}: {outcome:?}");
            matches!(outcome, Outcome::Silent)
        });
    }
    bed.apply(&[policy(&["routed", "bridged"])]).unwrap();
    bed.await_sync(std::time::Instant::now() + START);
    answered(&bed, &mut connect(&bed), ROUNDS);
}

#[test]
fn traffic_between_nodes_goes_past_the_nodes_forwarding_while_nothing_there_matters() {
    goes_past_what_does_not_matter(&[]);
}

#[test]
fn so_it_does_by_clsact() {
    goes_past_what_does_not_matter(&["--attach=clsact"]);
}

#[test]
fn without_the_fast_path_the_nodes_forward() {
    let bed = build(&["--fast-path=off"]);
    let mut connections = connect(&bed);
    answered(&bed, &mut connections, 1);
    let requests = ROUNDS * connections.len() as u64 / 2;
    for node in ["node1", "node2"] {
        await_status(&bed, node, "off: by --fast-path=off");
        for packets in meanwhile(&bed, node, &mut connections) {
            assert!(packets >= 2 * requests, "{node}: {packets} packets of {requests} requests and answers");
        }
    }
}
