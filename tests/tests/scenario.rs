//! The scenario runner without agents: it must see what is there, and must be able to fail.

use std::{fs, path::Path};

use netpol_tests::scenario::{Options, Run, ScenarioReport};

const CLUSTER: &str = "
cluster: {nodes: [{name: node1, cni: bridge}, {name: node2}], outside: [client]}
objects:
  - {apiVersion: v1, kind: Namespace, metadata: {name: t}}
  - apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: t}
    spec: {nodeName: node1, containers: [{name: c, ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]}]}
  - {apiVersion: v1, kind: Pod, metadata: {name: cat, namespace: t}, spec: {nodeName: node2, containers: [{name: c}]}}
  - apiVersion: v1
    kind: Pod
    metadata: {name: host, namespace: t}
    spec: {nodeName: node2, hostNetwork: true, containers: [{name: c, ports: [{containerPort: 8080}]}]}
  - {apiVersion: v1, kind: Pod, metadata: {name: done, namespace: t}, spec: {nodeName: node2, containers: [{name: c}]}, status: {phase: Succeeded}}
";

fn run(steps: &str) -> ScenarioReport {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.yaml");
    fs::write(&path, format!("name: raw\n{CLUSTER}\nsteps:\n{steps}")).unwrap();
    let (report, _bed) = Run::file(Path::new(&path), &Options { agents: None, ..Options::default() });
    eprintln!("{report}");
    report
}

/// What was seen of the only probe of the last step, in IPv4.
#[track_caller]
fn assert_fails(steps: &str, seen: &str) {
    let report = run(steps);
    assert!(!report.passed);
    let probe = report.steps.last().and_then(|s| s.probes.first()).expect("a probe");
    assert!(!probe.passed && probe.seen.contains(seen), "{probe:?}");
}

#[test]
fn what_is_there_is_seen() {
    let report = run("
  - name: everything
    probe:
      - {from: t/cat, to: 't/web:80', seen_from: t/cat}
      - {from: t/cat, to: 't/web:80', count: 40, answered_by: [t/web], sticky: true}
      - {from: t/cat, to: 't/web:53', protocol: udp, size: 3000}
      - {from: t/cat, to: 't/web:0', protocol: icmp, size: 3000}
      - {from: t/cat, to: 't/web:7', protocol: sctp}
      - {from: t/cat, to: 't/web:7', protocol: udplite}
      - {from: t/cat, to: 't/web:0', protocol: gre}
      - {from: t/cat, to: 't/web:0', protocol: esp}
      - {from: t/cat, to: 't/web:53', protocol: udp-options}
      - {from: node:node1, to: 't/web:7', protocol: sctp}
      - {from: t/cat, to: 't/web:81', expect: refuse}
      - {from: t/cat, to: 't/web:80', protocol: udp, expect: refuse}
      - {from: node:node1, to: 't/web:80', seen_from: node:node1}
      - {from: outside:client, to: 't/web:80', seen_from: outside:client}
      - {from: t/web, to: 't/host:8080', answered_by: [t/host]}
      - {from: t/cat, to: '172.18.0.2:8080', answered_by: [t/host]}
      - {from: t/cat, to: 't/web:80', flow: one}
      - {from: t/cat, to: 't/web:53', protocol: udp, flow: two}
  - name: still there
    probe:
      - {from: t/cat, to: 't/web:80', flow: one}
      - {from: t/cat, to: 't/web:53', protocol: udp, flow: two}
  - name: gone
    delete: [{kind: Pod, namespace: t, name: web}]
    probe:
      - {from: t/cat, to: 't/host:8080'}
");
    assert!(report.passed);
    // Every probe in both families, but for the one whose address says otherwise.
    assert_eq!(report.counts(), (17 * 2 + 1 + 2 * 2 + 2, 0));
}

#[test]
fn an_answer_where_a_drop_is_expected_fails() {
    assert_fails(
        "  - {name: s, within: 50ms, probe: [{from: t/cat, to: 't/web:80', expect: drop}]}",
        "answered by t/web, which saw 10.244.2.",
    );
}

#[test]
fn silence_is_no_drop_if_the_server_was_reached() {
    // Echo requests reach the pod, which is told to ignore them: silence, but not the network's.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.yaml");
    let steps = "steps: [{name: s, within: 50ms, probe: [{from: t/cat, to: 't/web:0', protocol: icmp, expect: drop}]}]";
    fs::write(&path, format!("name: raw\nfamilies: [4]\n{CLUSTER}\n{steps}")).unwrap();
    let scenario = netpol_tests::scenario::Scenario::read(&path).unwrap();
    let options = Options { agents: None, ..Options::default() };
    let (report, _bed) = Run::with(&scenario, "file", &options, |bed| {
        bed.pod("t/web")?.netns.set_sysctls(&[("ipv4/icmp_echo_ignore_all", "1")])
    });
    let probe = &report.steps[0].probes[0];
    assert!(!probe.passed && probe.seen == "no answer, but it reached t/web", "{probe:?}");
}

#[test]
fn every_other_expectation_can_fail() {
    let probe = |probe: &str| format!("  - {{name: s, within: 50ms, probe: [{{{probe}}}]}}");
    assert_fails(&probe("from: t/cat, to: 't/web:81'"), "refused");
    assert_fails(&probe("from: t/cat, to: 't/web:80', expect: refuse"), "answered by t/web");
    assert_fails(
        &probe("from: t/cat, to: 't/web:80', seen_from: outside:client"),
        "the server saw 10.244.2.",
    );
    assert_fails(
        &probe("from: t/cat, to: 't/web:80', answered_by: [t/web, t/cat]"),
        "answered by {\"t/web\"}",
    );
    assert_fails(&probe("from: t/cat, to: 't/done:80'"), "t/done is not running");
    assert_fails(&probe("from: t/cat, to: 'nodeport:node1:30080'"), "refused");
    assert_fails(
        "
  - {name: open, probe: [{from: t/cat, to: 't/host:8080', flow: one}]}
  - {name: s, within: 50ms, delete: [{kind: Pod, namespace: t, name: host}], probe: [{from: t/cat, to: '172.18.0.2:8080', flow: one}]}
",
        "refused",
    );
}
