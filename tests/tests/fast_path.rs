//! Packets between pods of one node are handed over by `bpf_redirect_peer`: where the node's own ways are cut, they still arrive,
//! and without the fast path they do not. On pods of both plugins.

use std::{process::Command, time::Duration};

use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Family, Place},
    probe::{Cell, Protocol},
};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(5);

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"},
        ]}]},
    })
}

/// Whether the pods of each node reach each other.
#[track_caller]
fn assert_together(bed: &Bed, together: bool, when: &str) {
    let mut expected = Vec::new();
    for (from, to) in [("routed-a", "routed-b"), ("bridged-a", "bridged-b")] {
        for family in Family::ALL {
            for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
                let from = Place::Pod(format!("t/{from}"));
                expected.push((Cell { from, to: format!("t/{to}"), protocol, port, family }, together));
            }
        }
    }
    let wrong = bed.settle(&expected, SOON).unwrap();
    assert!(wrong.is_empty(), "{when}: {wrong:?}");
}

/// Cuts or mends the ways that the nodes have for packets between their pods: routing on the one, the bridge on the other.
fn set_ways(bed: &Bed, open: bool) {
    let (forwarding, isolated) = if open { ("1", "off") } else { ("0", "on") };
    let routed = &bed.node("node1").unwrap().netns;
    routed.set_sysctls(&[("ipv4/ip_forward", forwarding), ("ipv6/conf/all/forwarding", forwarding)]).unwrap();
    let bridged = &bed.node("node2").unwrap().netns;
    let listed = bridged
        .output(Command::new("ip").args(["-oneline", "link", "show", "type", "bridge_slave"]))
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let ports: Vec<&str> = listed.lines().filter_map(|line| line.split([' ', '@']).nth(1)).collect();
    assert_eq!(ports.len(), 2, "{listed}");
    let isolate = |port: &&str| format!("link set dev {port} type bridge_slave isolated {isolated}");
    bridged.ip(&ports.iter().map(isolate).collect::<Vec<_>>()).unwrap();
}

#[test]
fn pods_of_one_node_meet_where_the_node_has_no_way_for_them() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.apply(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
        pod("routed-a", "node1"),
        pod("routed-b", "node1"),
        pod("bridged-a", "node2"),
        pod("bridged-b", "node2"),
    ])
    .unwrap();
    bed.await_agents(START).unwrap();
    // The pods learn each other's link addresses, which the bridge will not pass on any more.
    assert_together(&bed, true, "at first");
    set_ways(&bed, false);
    assert_together(&bed, true, "handed over");

    for node in ["node1", "node2"] {
        assert!(bed.take_agent(node).unwrap().stop().unwrap().success());
    }
    bed.start_agents(&AgentOptions { arguments: vec!["--fast-path=off".into()], ..AgentOptions::default() })
        .unwrap();
    bed.await_agents(START).unwrap();
    assert_together(&bed, false, "left to the node");
    set_ways(&bed, true);
    assert_together(&bed, true, "left to the node, which has its ways again");
}
