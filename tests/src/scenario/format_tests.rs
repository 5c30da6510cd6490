use std::time::Duration;

use super::*;

const MINIMAL: &str = "name: n\nsteps: [{name: s, probe: [{from: a/b, to: 'a/c:80'}]}]\n";

fn with_probe(probe: &str) -> Result<Scenario> {
    Scenario::parse(&format!("name: n\nsteps: [{{name: s, probe: [{probe}]}}]\n"))
}

#[track_caller]
fn assert_refused(probe: &str, word: &str) {
    let error = format!("{:#}", with_probe(probe).unwrap_err());
    assert!(error.contains(word), "{error}");
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let scenario = Scenario::parse(MINIMAL).unwrap();
    assert_eq!(scenario.families, Family::ALL);
    let cluster = scenario.cluster();
    assert_eq!(cluster.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["node1", "node2"]);
    let step = &scenario.steps[0];
    assert_eq!(step.within, Duration::from_secs(2));
    let probe = &step.probe[0];
    assert_eq!(
        (probe.protocol, probe.expect, probe.count, probe.label()),
        (Protocol::Tcp, Expect::Ok, 1, None)
    );
}

#[test]
fn every_field_is_understood() {
    let scenario = Scenario::parse(
        "
name: all
families: [6]
cluster: {nodes: [{name: a, zone: z, cni: bridge}], outside: [o], agents: [--external-ips]}
objects: [{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {n: '1'}}}]
steps:
  - name: s
    stop: [a]
    start: [a]
    apply: []
    delete: [{kind: NetworkPolicy, namespace: x, name: y}]
    within: 500ms
    probe:
      - {from: outside:o, to: 'service:x/y:80', protocol: udp, count: 60, answered_by: [x/a, x/b], seen_from: outside:o, sticky: true, size: 3000}
      - {from: node:a, to: '[fd00::1]:53', protocol: udp, expect: refuse}
      - {from: x/a, to: 'x/b:0', protocol: icmp, expect: drop, direction: egress, reason: policy, by: [x/p], flow: one}
      - {from: x/a, to: 'nodeport:a:30000'}
      - {from: x/a, to: 'loadbalancer:x/y:80', protocol: sctp}
      - {from: x/a, to: 'nodeport:a:30100', protocol: http, status: 503}
      - {from: x/a, to: 'nodeport:a:30000', count: 2, every: 1s}
",
    )
    .unwrap();
    let step = &scenario.steps[0];
    assert_eq!(scenario.agent_arguments(), ["--external-ips"]);
    assert_eq!((&step.stop, &step.start), (&vec!["a".to_owned()], &vec!["a".to_owned()]));
    assert_eq!((step.probe[5].status, step.probe[6].every), (Some(503), Some(Duration::from_secs(1))));
    assert_eq!(step.within, Duration::from_millis(500));
    assert_eq!(step.probe[0].seen_from, Some(Place::Outside("o".into())));
    assert_eq!(step.probe[1].to.to_string(), "[fd00::1]:53");
    assert_eq!(step.probe[2].label(), Some("one"));
    assert_eq!(scenario.objects[0]["metadata"]["labels"]["n"], "1");
}

#[test]
fn what_would_prove_nothing_is_refused() {
    assert_refused("{from: a/b, to: 'a/c:80', expected: drop}", "expected");
    assert_refused("{from: a/b, to: 'a/c:80', by: [x/y]}", "by go with expect: drop");
    assert_refused("{from: a/b, to: 'a/c:80', expect: drop, sticky: true}", "go with expect: ok");
    assert_refused("{from: a/b, to: 'a/c:80', count: 0}", "count");
    assert_refused("{from: a/b, to: 'a/c:80', count: 2, flow: x}", "fresh connections");
    assert_refused("{from: a/b, to: 'a/c:80', protocol: sctp, flow: x}", "single packets");
    assert_refused("{from: a/b, to: 'a/c:80', protocol: http}", "has a status");
    assert_refused("{from: a/b, to: 'a/c:80', status: 200}", "has a status");
    assert_refused("{from: a/b, to: 'a/c:80', protocol: http, expect: drop}", "single requests");
    assert_refused("{from: a/b, to: 'a/c:80', every: 1s}", "count");
    assert!(Scenario::parse("name: n\nsteps: []\n").is_err());
}

#[test]
fn a_word_that_names_nothing_is_refused_with_the_forms_there_are() {
    assert_refused("{from: somewhere, to: 'a/c:80'}", "namespace/name");
    assert_refused("{from: host:x, to: 'a/c:80'}", "node:NAME");
    assert_refused("{from: a/b, to: 'a/c'}", "not a target");
    assert_refused("{from: a/b, to: 'a/c:http'}", "not a target");
    assert_refused("{from: a/b, to: 'fd00::1'}", "not a target");
    assert_refused("{from: a/b, to: 'svc:a/c:80'}", "not a target");
    assert_refused("{from: a/b, to: 'a/c:80', protocol: dccp}", "udp-options");
}

#[test]
fn durations_have_a_unit() {
    assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
    assert!(parse_duration("2").is_err());
    assert!(parse_duration("s").is_err());
}

#[test]
fn a_pod_may_be_called_y() {
    let text = MINIMAL.replace("name: n", "name: n\nobjects: [{kind: Pod, metadata: {name: y}}]");
    assert_eq!(Scenario::parse(&text).unwrap().objects[0]["metadata"]["name"], "y");
}
