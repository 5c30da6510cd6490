//! The agent dies, comes back, and goes for good: what the packets see of it.

mod ending;
mod load;
mod loaded;
mod stream;
mod upgrade;

use std::{net::IpAddr, time::Duration};

use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Family, Place},
    probe::{Cell, Connection, Outcome, Protocol},
};
use serde_json::{Value, json};
use stream::Stream;

const START: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(5);
const SERVICE: &str = "10.96.0.7";

fn pod(name: &str, node: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "t", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"},
        ]}]},
    })
}

/// Lets pods with these labels reach the server.
fn policy(apps: &[&str]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "server", "namespace": "t"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]}}]}],
        },
    })
}

fn build() -> Bed {
    build_with(&ClusterSpec::default(), &AgentOptions::default())
}

fn build_with(cluster: &ClusterSpec, agents: &AgentOptions) -> Bed {
    let mut bed = Bed::build(cluster).unwrap();
    if agents.arguments.iter().any(|argument| argument.starts_with("--xdp")) {
        bed.carry_frames().unwrap();
    }
    bed.start_agents(agents).unwrap();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server", "namespace": "t"},
        "spec": {"selector": {"app": "server"}, "clusterIP": SERVICE,
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]},
    });
    bed.apply(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
        policy(&["client"]),
        service,
        pod("server", "node1", "server"),
        pod("near", "node1", "client"),
        pod("far", "node2", "client"),
        pod("stranger", "node1", "stranger"),
        pod("far-stranger", "node2", "stranger"),
    ])
    .unwrap();
    bed.await_agents(START).unwrap();
    bed
}

/// Clients reach the server, strangers do so only if `open`.
#[track_caller]
fn assert_enforced(bed: &Bed, open: bool, when: &str) {
    assert_reached_by(bed, |from| open || !from.contains("stranger"), when);
}

/// All of them reach the server, or none does.
#[track_caller]
fn assert_all(bed: &Bed, allowed: bool, when: &str) {
    assert_reached_by(bed, |_| allowed, when);
}

#[track_caller]
fn assert_reached_by(bed: &Bed, allowed: impl Fn(&str) -> bool, when: &str) {
    let mut expected = Vec::new();
    for from in ["near", "far", "stranger", "far-stranger"] {
        let allowed = allowed(from);
        for family in Family::ALL {
            for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
                let from = Place::Pod(format!("t/{from}"));
                expected.push((Cell { from, to: "t/server".to_owned(), protocol, port, family }, allowed));
            }
        }
    }
    let wrong = bed.settle(&expected, SOON).unwrap();
    assert!(
        wrong.is_empty(),
        "{when}: {wrong:?}\n{}",
        bed.agents().iter().map(|a| a.log()).collect::<String>()
    );
}

fn streams(bed: &Bed) -> Vec<Stream> {
    let server: IpAddr = bed.pod("t/server").unwrap().addresses[0];
    let start = |from: &str, to: IpAddr| Stream::start(&bed.pod(from).unwrap().netns, (to, 53).into());
    vec![start("t/near", server), start("t/far", server), start("t/near", SERVICE.parse().unwrap())]
}

fn connect(bed: &Bed, from: &str) -> Connection {
    let target = (bed.pod("t/server").unwrap().addresses[0], 80).into();
    let _guard = bed.runtime().enter();
    Connection::prepare(&bed.pod(from).unwrap().netns, Protocol::Tcp, target).unwrap()
}

#[track_caller]
fn assert_answered(bed: &Bed, connection: &mut Connection, when: &str) {
    let outcome = bed.runtime().block_on(connection.exchange(17, SOON));
    assert!(matches!(outcome, Outcome::Answered(_)), "{when}: {outcome:?}");
}

#[test]
fn an_agent_that_is_killed_and_comes_back_costs_no_packet_and_opens_nothing() {
    let mut bed = build();
    assert_enforced(&bed, false, "at first");
    let mut connection = connect(&bed, "t/far");
    assert_answered(&bed, &mut connection, "at first");
    let streams = streams(&bed);

    for _ in 0..3 {
        for node in ["node1", "node2"] {
            bed.take_agent(node).unwrap().kill().unwrap();
        }
        assert_enforced(&bed, false, "without agents");
        assert_answered(&bed, &mut connection, "without agents");
        bed.start_agents(&AgentOptions::default()).unwrap();
        bed.await_agents(START).unwrap();
        assert_enforced(&bed, false, "with new agents");
        assert_answered(&bed, &mut connection, "with new agents");
    }
    for stream in streams {
        let (sent, lost) = stream.stop();
        assert!(sent > 500, "{sent} datagrams prove little");
        assert_eq!(lost, 0, "of {sent} datagrams");
    }
}

#[test]
fn what_has_changed_while_the_agent_was_away_is_in_force_when_it_is_back() {
    let mut bed = build();
    for node in ["node1", "node2"] {
        let status = bed.take_agent(node).unwrap().stop().unwrap();
        assert!(status.success(), "{status}");
    }
    bed.apply(&[policy(&["client", "stranger"])]).unwrap();
    // A pod that comes while nobody looks after the node is not closed yet; it must be before anything else.
    bed.apply(&[pod("late", "node1", "server")]).unwrap();
    assert_enforced(&bed, false, "while the agents are away");

    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.await_agents(START).unwrap();
    assert_enforced(&bed, true, "when they are back");
    bed.apply(&[policy(&["client"])]).unwrap();
    assert_enforced(&bed, false, "closed again");
    let late = Cell {
        from: Place::Pod("t/stranger".to_owned()),
        to: "t/late".to_owned(),
        protocol: Protocol::Tcp,
        port: 80,
        family: Family::V4,
    };
    assert_eq!(bed.settle(&[(late, false)], SOON).unwrap(), []);
}

#[test]
fn cleanup_leaves_the_network_as_it_was() {
    let mut bed = build();
    assert_enforced(&bed, false, "at first");
    for node in ["node1", "node2"] {
        bed.take_agent(node).unwrap().stop().unwrap();
    }
    assert_enforced(&bed, false, "agents stopped");
    for node in ["node1", "node2"] {
        bed.clean_up_node(node).unwrap();
    }
    assert_enforced(&bed, true, "after cleanup");
    for node in bed.nodes() {
        let pins = node.folder.join("bpf").join("netpol");
        assert!(!pins.exists(), "{} is left", pins.display());
    }
}
