//! Points of the API that the conformance cases do not reach.

use netpol_common::{net::proto, policy::RuleId};

use super::{Bed, pod, policy};
use crate::dataplane::judge::Verdict;

/// `shop/db` on this node under 10.0.0.10, isolated by `shop/p` with this spec; `shop/web` 10.0.1.1 and `ops/tool`
/// 10.0.2.1 on another node.
fn shop(spec: &str) -> Bed {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10", "fd00::10"]);
    let ports = "ports: [{name: sql, containerPort: 5432}, {name: sql, containerPort: 5433, protocol: UDP}]";
    bed.apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10", "fd00::10"], ports));
    bed.apply(&pod("shop/web", "node2", "{app: web}", &["10.0.1.1", "fd00::1:1"], ""));
    bed.apply(&pod("ops/tool", "node2", "{app: tool}", &["10.0.2.1"], ""));
    bed.apply(&policy("shop/p", spec));
    bed
}

#[test]
fn a_pod_without_policies_is_open_and_a_pod_without_interface_is_elsewhere() {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]).apply(&pod("shop/db", "node1", "{}", &["10.0.0.10"], ""));
    let judgement = bed.tcp("10.0.9.9", "10.0.0.10", 80);
    assert_eq!(judgement.ingress, Verdict::Allowed(RuleId::NOT_ISOLATED));
    assert_eq!(judgement.egress, Verdict::Allowed(RuleId::ELSEWHERE));
    assert_eq!(bed.tcp("10.0.0.10", "10.0.0.10", 80).ingress, Verdict::Allowed(RuleId::SELF));
}

#[test]
fn an_unreadable_subject_closes_the_whole_namespace() {
    let bed =
        shop("{podSelector: {matchExpressions: [{key: app, operator: Like, values: [x]}]}, ingress: [{}]}");
    assert_eq!(bed.ingress_rule("10.0.1.1", "10.0.0.10", 80), "p spec.ingress[0]");
    let bed = shop("{podSelector: {matchExpressions: [{key: app, operator: Like}]}}");
    assert_eq!(bed.ingress_rule("10.0.1.1", "10.0.0.10", 80), "denied by p");
}

#[test]
fn a_bad_peer_allows_nobody_and_its_neighbour_still_does() {
    let bed = shop(
        "{podSelector: {}, ingress: [{from: [{}, {ipBlock: {cidr: 10.0.0.0/40}}, {podSelector: {matchLabels: {app: \
         web}}}]}, {from: [{ipBlock: {cidr: 0.0.0.0/0}, podSelector: {}}]}]}",
    );
    assert_eq!(bed.ingress_rule("10.0.1.1", "10.0.0.10", 80), "p spec.ingress[0]");
    assert_eq!(bed.ingress_rule("10.0.2.1", "10.0.0.10", 80), "denied by p");
}

#[test]
fn a_bad_port_allows_nothing_and_its_neighbour_still_does() {
    let bed =
        shop("{podSelector: {}, ingress: [{ports: [{port: 90, endPort: 80}, {port: 70000}, {port: 443}]}]}");
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 443).is_allowed());
    for port in [0, 80, 85, 90, 4464] {
        assert!(!bed.tcp("10.0.1.1", "10.0.0.10", port).is_allowed(), "{port}");
    }
}

#[test]
fn both_addresses_of_a_pod_are_one_peer() {
    let bed = shop("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}");
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    assert!(bed.tcp("fd00::1:1", "fd00::10", 80).is_allowed());
    assert!(!bed.tcp("fd00::1:2", "fd00::10", 80).is_allowed());
}

#[test]
fn a_named_port_is_the_pods_own_number_under_its_protocol() {
    let bed = shop(
        "{podSelector: {}, ingress: [{ports: [{port: sql}, {port: sql, protocol: UDP}, {port: none}]}]}",
    );
    let allowed = |proto, port| bed.judge("10.0.1.1", "10.0.0.10", proto, port).is_allowed();
    assert!(allowed(proto::TCP, 5432) && allowed(proto::UDP, 5433));
    assert!(!allowed(proto::TCP, 5433) && !allowed(proto::UDP, 5432) && !allowed(proto::SCTP, 5432));
}

#[test]
fn a_named_egress_port_is_each_peers_own_number() {
    let mut bed = shop("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}");
    for (name, addr, port) in [("shop/a", "10.0.3.1", 8080), ("shop/b", "10.0.3.2", 9090)] {
        let ports = format!("ports: [{{name: http, containerPort: {port}}}]");
        bed.apply(&pod(name, "node2", "{}", &[addr], &ports));
    }
    let allowed = |dst, port| bed.tcp("10.0.0.10", dst, port).is_allowed();
    assert!(allowed("10.0.3.1", 8080) && allowed("10.0.3.2", 9090));
    assert!(!allowed("10.0.3.1", 9090) && !allowed("10.0.3.2", 8080) && !allowed("8.8.8.8", 8080));
}

#[test]
fn host_network_and_ended_pods_are_no_peers_and_blocks_match_whoever_has_the_address() {
    let selector = "{from: [{namespaceSelector: {}}]}";
    let block = "{from: [{ipBlock: {cidr: 10.0.1.1/16, except: [10.0.1.128/25]}}], ports: [{port: 1}]}";
    let mut bed = shop(&format!("{{podSelector: {{}}, ingress: [{selector}, {block}]}}"));
    assert_eq!(bed.ingress_rule("10.0.1.1", "10.0.0.10", 2), "p spec.ingress[0]");
    let ended = pod("shop/web", "node2", "{app: web}", &["10.0.1.1"], "").replace("Running", "Failed");
    bed.apply(&ended);
    let host =
        pod("ops/agent", "node2", "{}", &["10.0.7.1"], "").replace("nodeName", "hostNetwork: true, nodeName");
    bed.apply(&host);
    for addr in ["10.0.1.1", "10.0.7.1"] {
        assert_eq!(bed.ingress_rule(addr, "10.0.0.10", 2), "denied by p");
        assert_eq!(bed.ingress_rule(addr, "10.0.0.10", 1), "p spec.ingress[1]");
    }
    assert_eq!(bed.ingress_rule("10.0.1.200", "10.0.0.10", 1), "denied by p");
}

#[test]
fn blocks_are_a_union_and_an_exception_carves_only_its_own() {
    let bed = shop(
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.5.0.0/16]}}], ports: [{port: \
         80}]}, {from: [{ipBlock: {cidr: 10.5.5.0/24}}], ports: [{port: 443}]}]}",
    );
    let allowed = |src, port| bed.tcp(src, "10.0.0.10", port).is_allowed();
    assert!(allowed("10.1.1.1", 80) && !allowed("10.1.1.1", 443));
    assert!(!allowed("10.5.1.1", 80) && !allowed("10.5.5.1", 80) && allowed("10.5.5.1", 443));
    assert!(allowed("10.0.1.1", 80), "a block matches a pod's address too");
    assert!(!allowed("11.0.0.1", 80));
}

#[test]
fn a_mapped_block_is_no_way_to_an_ipv4_address() {
    let bed = shop("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::ffff:0:0/96'}}]}]}");
    assert!(!bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
}

#[test]
fn protocols_without_ports_need_a_rule_without_ports() {
    let bed = shop("{podSelector: {}, ingress: [{ports: [{}]}]}");
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    assert!(!bed.judge("10.0.1.1", "10.0.0.10", proto::UDP, 80).is_allowed());
    assert!(!bed.judge("10.0.1.1", "10.0.0.10", proto::ICMP, 0).is_allowed());
    let bed = shop("{podSelector: {}, ingress: [{}]}");
    assert!(bed.judge("10.0.1.1", "10.0.0.10", proto::ICMP, 0).is_allowed());
}

#[test]
fn the_narrowest_range_names_the_rule() {
    let bed = shop(
        "{podSelector: {}, ingress: [{ports: [{port: 1, endPort: 1000}]}, {ports: [{port: 80}]}, {ports: [{port: 80}]}]}",
    );
    assert_eq!(bed.ingress_rule("10.0.1.1", "10.0.0.10", 80), "p spec.ingress[1]");
    assert_eq!(bed.ingress_rule("10.0.1.1", "10.0.0.10", 81), "p spec.ingress[0]");
}

#[test]
fn an_address_that_passes_to_another_pod_takes_no_rights_along() {
    let mut bed = shop("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}");
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    // The new pod is there before the old one is gone, and the old one is about to end.
    let leaving = pod("shop/web", "node2", "{app: web}", &["10.0.1.1"], "")
        .replace("name: web,", "name: web, deletionTimestamp: '2026-01-01T00:00:00Z',");
    bed.apply(&leaving);
    bed.apply(&pod("shop/other", "node2", "{app: other}", &["10.0.1.1"], ""));
    assert!(!bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    bed.delete("Pod", "shop", "web");
    assert!(!bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
}

#[test]
fn two_interfaces_with_one_address_close_the_pod() {
    let mut bed = shop("{podSelector: {}, ingress: [{}]}");
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    bed.up(11, &["10.0.0.10"]);
    assert!(bed.fake.rows().endpoints.is_empty());
    assert!(bed.engine.problems().iter().any(|p| p.message.contains("several interfaces")));
    bed.engine.interface_gone(11);
    bed.settle();
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
}

#[test]
fn a_sidecars_named_port_counts_and_an_init_containers_does_not() {
    let mut bed = shop("{podSelector: {}, ingress: [{ports: [{port: mesh}]}]}");
    let init = |restart: &str| {
        let ports = "ports: [{name: mesh, containerPort: 15001}]";
        pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], "").replacen(
            "containers:",
            &format!("initContainers: [{{name: s, {restart}{ports}}}], containers:"),
            1,
        )
    };
    bed.apply(&init("restartPolicy: Always, "));
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 15001).is_allowed());
    assert!(!bed.judge("10.0.1.1", "10.0.0.10", proto::UDP, 15001).is_allowed(), "the name and the protocol");
    bed.apply(&init(""));
    assert!(!bed.tcp("10.0.1.1", "10.0.0.10", 15001).is_allowed());
}

#[test]
fn labels_of_a_namespace_take_effect_when_they_change() {
    let spec = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}]}";
    let mut bed = shop(spec);
    let namespace = |labels: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: ops, labels: {labels}}}}}")
    };
    for (labels, allowed) in
        [("{}", false), ("{team: ops}", true), ("{team: dev}", false), ("{team: ops}", true)]
    {
        bed.apply(&namespace(labels));
        assert_eq!(bed.tcp("10.0.2.1", "10.0.0.10", 80).is_allowed(), allowed, "{labels}");
        assert!(!bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    }
    bed.delete("Namespace", "", "ops");
    assert!(!bed.tcp("10.0.2.1", "10.0.0.10", 80).is_allowed());
}
