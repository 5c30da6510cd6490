//! A pod that no veth leads to is not policed, and that is said: to the runtime that starts it, and to who asks.

use netpol_agent::ctl::api::PendingReason;
use netpol_tests::flows::status;
use netpol_tests::{
    bed::{AgentOptions, Chain, Family, object_ref, sandbox},
    eventually,
};
use serde_json::{Value, json};

use crate::ground::{PATIENCE, bed, container, endpoints, hold, netpol, ptp, unstarted};

#[test]
fn a_pod_with_a_macvlan_is_refused_and_one_that_runs_is_told_of() {
    let mut bed = bed(&[Family::V4]);
    bed.take_agent("node1").unwrap().stop().unwrap();
    let arguments = vec!["--pending-deadline=100ms".to_owned()];
    bed.start_agents(&AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    eventually(PATIENCE, "the agent is back", || status(&bed.agents()[0]).is_ok_and(|status| status.synced));
    let node = bed.node("node1").unwrap();
    let routed = ptp(node, &[]);
    let macvlan = json!({"type": "macvlan", "master": "eth0", "ipam": routed.plugins[1]["ipam"]});
    let made = Chain { plugins: vec![hold(), macvlan], ..routed.clone() };
    let object = unstarted("p", "p", "any");
    bed.tell(&object).unwrap();
    let node = bed.node("node1").unwrap();
    let netns = sandbox(node, "cni-p").unwrap();
    let who = container("p", "p", &netns);
    let called = made.call(node, "ADD", &who, &Value::Null).unwrap();
    let error = routed.call_one(node, &netpol(node), "ADD", &who, &called.result).unwrap_err().to_string();
    assert!(
        error.contains("\"code\":100") && error.contains("eth0 in namespace cni-p is of kind macvlan"),
        "{error}"
    );
    routed.call_one(node, &netpol(node), "DEL", &who, &called.result).unwrap();

    // Started without the plugin.
    let mut running = object.clone();
    let address = called.result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap();
    running["status"] = json!({"phase": "Running", "podIPs": [{"ip": address}]});
    bed.tell(&running).unwrap();
    eventually(PATIENCE, "it is told why", || {
        endpoints(&bed).iter().any(|e| e.pending == Some(PendingReason::NoVeth))
    });
    let line = "Pod t/p: has been open for more than 100ms: its interface has no side on this node";
    eventually(PATIENCE, "it is a problem", || {
        status(&bed.agents()[0]).unwrap().problems.iter().any(|p| p.to_string().starts_with(line))
    });
    assert!(bed.agents()[0].log().contains("eth0 in namespace cni-p is of kind macvlan: it is not policed"));
    made.call(bed.node("node1").unwrap(), "DEL", &who, &called.result).unwrap();
    netns.delete().unwrap();
    bed.delete(&[object_ref(&object).unwrap()]).unwrap();
}
