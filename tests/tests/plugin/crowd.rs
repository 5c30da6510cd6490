//! A full node: its pods are found again after a restart, and one more starts as quickly as on an empty one.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use netpol_tests::{
    bed::{AgentOptions, Family, Netns, sandbox},
    eventually,
    flows::status,
};
use serde_json::{Value, json};

use crate::ground::{PATIENCE, bed, container, policy, ptp, unstarted};

/// With the one that comes last as many as kubelets of large nodes are told to run (`maxPods`).
const CROWD: usize = 249;
const SOON: Duration = Duration::from_secs(10);

#[test]
fn two_hundred_and_fifty_pods_are_found_again_after_a_restart() {
    let mut bed = bed(&[Family::V4]);
    bed.apply(&[policy()]).unwrap();
    let node = bed.node("node1").unwrap();
    let addresses: Vec<IpAddr> = node.pod_ranges[0].hosts().skip(2).take(CROWD).collect();
    let pods: Vec<Netns> = (0..CROWD).map(|n| sandbox(node, &format!("cni-{n:03}")).unwrap()).collect();
    let pair = |(n, pod): (usize, &Netns)| {
        format!("link add h{n} up type veth peer name eth0 netns {}", pod.path().display())
    };
    node.netns.ip(&pods.iter().enumerate().map(pair).collect::<Vec<_>>()).unwrap();
    for (pod, addr) in pods.iter().zip(&addresses) {
        pod.ip(&["link set eth0 up".to_owned(), format!("addr add {addr}/32 dev eth0")]).unwrap();
    }
    for (n, addr) in addresses.iter().enumerate() {
        let mut object = unstarted(&format!("p{n}"), &format!("p{n}"), "starting");
        object["status"] = json!({"phase": "Running", "podIPs": [{"ip": addr}]});
        bed.tell(&object).unwrap();
    }
    eventually(PATIENCE, "all are policed", || status(&bed.agents()[0]).unwrap().endpoints.ready == CROWD);

    bed.take_agent("node1").unwrap().kill().unwrap();
    let began = Instant::now();
    bed.start_agents(&AgentOptions::default()).unwrap();
    let ready = |status: netpol_agent::ctl::api::Status| status.in_sync && status.endpoints.ready == CROWD;
    eventually(PATIENCE, "all are found again", || status(&bed.agents()[0]).is_ok_and(ready));
    let found = began.elapsed();
    assert!(found < SOON, "{found:?}");

    bed.tell(&unstarted("last", "last", "starting")).unwrap();
    let node = bed.node("node1").unwrap();
    let last = sandbox(node, "cni-last").unwrap();
    let mut chain = ptp(node, &[]);
    chain.plugins[1]["ipam"]["ranges"] = json!([[{"subnet": "10.245.1.0/24"}]]);
    let who = container("last", "last", &last);
    let called = chain.call(node, "ADD", &who, &Value::Null).unwrap();
    println!("{CROWD} pods found again in {found:?}; the plugin's ADD of one more took {:?}", called.took[2]);
    chain.call(node, "DEL", &who, &called.result).unwrap();
    for netns in pods.iter().chain([&last]) {
        netns.delete().unwrap();
    }
}
