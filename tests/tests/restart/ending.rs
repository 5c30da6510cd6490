//! A namespace is being deleted, and its policies go before its pods.

use netpol_agent::model::ObjectRef;
use netpol_tests::bed::AgentOptions;
use serde_json::json;

use crate::{START, assert_all, assert_enforced, build};

#[test]
fn pods_of_a_namespace_that_ends_stay_isolated_also_through_a_restart() {
    let mut bed = build();
    assert_enforced(&bed, false, "at first");
    bed.tell(&json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}, "status": {"phase": "Terminating"},
    }))
    .unwrap();
    bed.await_agents(START).unwrap();
    let policy = ObjectRef { kind: "NetworkPolicy".into(), namespace: "t".into(), name: "server".into() };
    bed.delete(&[policy]).unwrap();
    bed.await_agents(START).unwrap();
    assert_enforced(&bed, false, "the policy is gone");

    for node in ["node1", "node2"] {
        bed.take_agent(node).unwrap().kill().unwrap();
    }
    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.await_agents(START).unwrap();
    // Who was allowed in is not remembered; that the pod was isolated is.
    assert_all(&bed, false, "a new agent knows nothing but the rows");

    bed.tell(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}})).unwrap();
    bed.await_agents(START).unwrap();
    assert_all(&bed, true, "the namespace lives");
}
