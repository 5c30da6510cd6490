use std::{process::Command, time::Duration};

use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Source, program},
    eventually,
};
use serde_json::json;

use crate::http::get;

const PATIENCE: Duration = Duration::from_secs(30);
const PROBES: &str = "127.0.0.1:10256";
const METRICS: &str = "127.0.0.1:10249";

/// The value of a series.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[test]
fn a_node_is_ready_once_every_kind_was_delivered_and_its_numbers_say_how_long_changes_take() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let server = bed.start_api_server().unwrap();
    server.set_faults(|faults| faults.forbidden = ["networkpolicies".to_owned()].into());
    let arguments = [format!("--healthz-bind={PROBES}"), format!("--metrics-bind={METRICS}")];
    let options =
        AgentOptions { arguments: arguments.into(), source: Source::Server, ..AgentOptions::default() };
    bed.start_agent("node1", &options).unwrap();
    let probe = |path: &str| get(bed.node("node1").unwrap(), PROBES, path);
    eventually(PATIENCE, "only the policies are waited for", || {
        probe("/readyz").is_ok_and(|(status, answer)| {
            status == 503 && answer.ends_with(r#"{"ready":false,"waitsFor":["NetworkPolicy: failing"]}"#)
        })
    });
    assert_eq!(probe("/livez").unwrap().0, 200, "another start would not mend that");
    assert_eq!(probe("/healthz").unwrap().0, 503);
    assert_eq!(probe("/metrics").unwrap().0, 404, "it has an address of its own");
    server.set_faults(|faults| faults.forbidden.clear());
    eventually(PATIENCE, "ready", || probe("/readyz").is_ok_and(|(status, _)| status == 200));

    server
        .put(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "t"},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]},
        }))
        .unwrap();
    // A second from now at the latest, whatever a clock rounds.
    let now = || k8s_openapi::jiff::Timestamp::now();
    let metrics = || get(bed.node("node1").unwrap(), METRICS, "/metrics").unwrap().1;
    assert!(metrics().contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", metrics());
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "t", "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": now().to_string()}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.9.9.9"]}], "ports": [{"port": 80}],
    });
    let mut again = slice.clone();
    again["metadata"]["labels"]["other"] = json!("changed, and no endpoint with it");
    server.put(slice).unwrap();
    server.put(again).unwrap();
    let written = (now() + Duration::from_secs(1)).to_string();
    server
        .put(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "p", "namespace": "t", "managedFields": [{"manager": "kubectl", "time": written}]},
            "spec": {"podSelector": {}},
        }))
        .unwrap();
    eventually(PATIENCE, "the policy is in force", || {
        value(&metrics(), "netpol_policy_programming_duration_seconds_count") == 1.0
    });
    let text = metrics();
    // The slice came before.
    assert_eq!(value(&text, "netpol_network_programming_duration_seconds_count"), 1.0);
    assert!(value(&text, "netpol_network_programming_duration_seconds_sum") < 10.0);
    assert!(value(&text, "netpol_compile_duration_seconds_count") > 0.0);
    assert!(value(&text, "netpol_apply_duration_seconds_count") > 0.0);
    assert_eq!(value(&text, "netpol_watch_state{kind=\"Pod\",state=\"watching\"}"), 1.0);
    assert!(value(&text, "netpol_watch_restarts_total{kind=\"NetworkPolicy\",reason=\"failed\"}") > 0.0);
    assert!(value(&text, "netpol_watch_lag_seconds{kind=\"Pod\"}") < 5.0);
    assert_eq!(value(&text, "netpol_ready"), 1.0);
    server.cut();
    eventually(PATIENCE, "a watch that was cut is counted", || {
        value(&metrics(), "netpol_watch_restarts_total{kind=\"Pod\",reason=\"ended\"}") > 0.0
    });
    assert_eq!(probe("/readyz").unwrap().0, 200);

    // Another agent of this node says so and stops, as does one whose address is taken.
    let node = bed.node("node1").unwrap();
    let agent = &bed.agents()[0];
    let [folder, own] = [node.folder.join("another"), agent.socket.clone()];
    for (socket, metrics, wanted) in [
        (
            &folder.join("ctl.sock"),
            METRICS,
            "cannot listen on 127.0.0.1:10249 (--metrics-bind): Address already in use",
        ),
        (&own, "127.0.0.1:0", "another agent listens at "),
        (
            &folder.join("ctl.sock"),
            "127.0.0.1:0",
            &format!("another agent (process {}) serves this node already", agent.id()),
        ),
    ] {
        let mut command = Command::new(program("netpol-agent").unwrap());
        command.args(["run", "--node=node1", "--source=dir:/etc", "--metrics-bind", metrics]);
        command.arg("--socket").arg(socket).arg("--pin-dir").arg(&folder).arg("--cni-dir").arg(&folder);
        let output = node.netns.output(&mut command).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(wanted), "{wanted:?} is not in {said}");
    }
    assert_eq!(probe("/readyz").unwrap().0, 200);
}
