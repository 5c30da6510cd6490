//! What a running agent tells of pods that stay closed, and the numbers it gives.

use std::time::Duration;

use netpol_agent::ctl::api::PendingReason;
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec},
    eventually,
    flows::{endpoints, metrics, status},
};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

/// The value of a series.
fn value(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[test]
fn a_pod_without_an_interface_is_overdue_after_the_deadline_and_told_once() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let arguments = vec!["--pending-deadline".to_owned(), "300ms".to_owned()];
    bed.start_agent("node1", &AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    bed.tell(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ghost", "namespace": "t"},
        "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
        "status": {"podIPs": [{"ip": "10.9.9.9"}]},
    }))
    .unwrap();
    let agent = &bed.agents()[0];
    eventually(PATIENCE, "the pod is overdue", || {
        value(&metrics(agent).unwrap(), "netpol_pods_pending_overdue") == 1
    });
    assert_eq!(value(&metrics(agent).unwrap(), "netpol_pods_pending{reason=\"no-interface\"}"), 1);
    assert_eq!(endpoints(agent).unwrap()[0].pending, Some(PendingReason::NoInterface));
    let line = "Pod t/ghost: has been pending, and closed, for more than 300ms: no interface with its addresses was \
                found";
    let told =
        |status: &netpol_agent::ctl::api::Status| status.problems.iter().any(|p| p.to_string() == line);
    assert!(told(&status(agent).unwrap()));
    eventually(PATIENCE, "it stands in the log", || agent.log().contains(line));
    // The status is asked for again and again; the log has it once.
    assert!(told(&status(agent).unwrap()));
    assert_eq!(agent.log().matches(line).count(), 1);
}
