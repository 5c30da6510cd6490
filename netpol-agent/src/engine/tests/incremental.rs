//! What a small change writes: the rows concerned, and no others.

use std::collections::BTreeMap;

use super::{Bed, pod, policy};

/// Twenty web pods elsewhere, two database pods here, and a policy that lets web in.
fn cluster() -> Bed {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]).up(11, &["10.0.0.11"]);
    let mut yaml = pod("shop/db-0", "node1", "{app: db}", &["10.0.0.10"], "");
    yaml += &pod("shop/db-1", "node1", "{app: db}", &["10.0.0.11"], "");
    for i in 0..20 {
        yaml += &pod(&format!("shop/web-{i}"), "node2", "{app: web}", &[&format!("10.0.1.{i}")], "");
    }
    yaml += &policy(
        "shop/db",
        "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: \
         [{port: 5432}]}]}",
    );
    yaml += "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, \
             selector: {app: web}, ports: [{port: 80}]}}";
    bed.apply(&yaml);
    bed
}

fn counts(pairs: &[(&'static str, usize)]) -> BTreeMap<&'static str, usize> {
    pairs.iter().copied().collect()
}

#[test]
fn one_peer_more_or_less_is_one_address() {
    let mut bed = cluster();
    bed.delete("Service", "shop", "web");
    bed.feed(&pod("shop/web-20", "node2", "{app: web}", &["10.0.1.20"], ""));
    assert_eq!(bed.settle(), counts(&[("np_peer4", 1), ("begin", 1), ("epoch", 1)]));
    bed.engine.delete(&crate::model::ObjectRef {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: "web-20".into(),
    });
    assert_eq!(bed.settle(), counts(&[("np_peer4", 1), ("begin", 1), ("epoch", 1)]));
}

#[test]
fn a_label_that_no_selector_names_is_nothing_and_one_that_does_is_one_address() {
    let mut bed = cluster();
    bed.delete("Service", "shop", "web");
    bed.feed(&pod("shop/web-3", "node2", "{app: web, color: blue}", &["10.0.1.3"], ""));
    assert_eq!(bed.settle(), counts(&[]));
    bed.feed(&pod("shop/web-3", "node2", "{app: other}", &["10.0.1.3"], ""));
    assert_eq!(bed.settle(), counts(&[("np_peer4", 1), ("begin", 1), ("epoch", 1)]));
}

#[test]
fn a_pod_that_no_selector_matches_is_nothing() {
    let mut bed = cluster();
    bed.feed(&pod("other/x", "node2", "{app: x}", &["10.0.3.1"], ""));
    assert_eq!(bed.settle(), counts(&[]));
}

#[test]
fn one_pod_more_of_a_kind_is_its_address_and_its_interface() {
    let mut bed = cluster();
    bed.feed(&pod("shop/db-2", "node1", "{app: db}", &["10.0.0.12"], ""));
    bed.engine.interface_up(super::interface(12, &["10.0.0.12"]));
    assert_eq!(bed.settle(), counts(&[("np_peer4", 1), ("np_ep", 1), ("begin", 1), ("epoch", 1)]));
}

#[test]
fn one_backend_less_is_one_range_and_one_store() {
    let mut bed = cluster();
    let pod = pod("shop/web-3", "node2", "{app: web}", &["10.0.1.3"], "");
    bed.feed(&pod.replace("podIPs", "conditions: [{type: Ready, status: 'False'}], podIPs"));
    // Established TCP connections keep their backend: nothing is judged again.
    assert_eq!(bed.settle(), counts(&[("write", 1), ("put np_svc", 1), ("grace", 1)]));
    bed.feed(&pod);
    assert_eq!(bed.settle(), counts(&[("write", 1), ("put np_svc", 1), ("grace", 1)]));
}

#[test]
fn one_backend_less_of_a_udp_port_is_one_member_less_and_has_clients_choose_again() {
    let mut bed = cluster();
    bed.feed(
        "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, \
         selector: {app: web}, ports: [{port: 80, protocol: UDP}]}}",
    );
    bed.settle();
    assert_eq!(bed.fake.rows().members.len(), 20);
    let pod = pod("shop/web-3", "node2", "{app: web}", &["10.0.1.3"], "");
    bed.feed(&pod.replace("podIPs", "conditions: [{type: Ready, status: 'False'}], podIPs"));
    let swap = [("write", 1), ("put np_svc", 1), ("np_member4", 1), ("begin", 1), ("epoch", 1), ("grace", 1)];
    assert_eq!(bed.settle(), counts(&swap));
    bed.feed(&pod);
    assert_eq!(bed.settle(), counts(&[("write", 1), ("put np_svc", 1), ("np_member4", 1), ("grace", 1)]));
}

#[test]
fn replays_and_unknown_deletions_are_nothing() {
    let mut bed = cluster();
    bed.feed(&pod("shop/web-3", "node2", "{app: web}", &["10.0.1.3"], ""));
    bed.engine.interface_up(super::interface(10, &["10.0.0.10"]));
    bed.engine.interface_gone(99);
    for kind in ["Pod", "Namespace", "NetworkPolicy", "Service", "EndpointSlice", "Node", "Unknown"] {
        bed.delete(kind, "nowhere", "nobody");
    }
    assert_eq!(bed.settle(), counts(&[]));
}
