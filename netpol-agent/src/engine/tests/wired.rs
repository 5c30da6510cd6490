//! Pods whose interface the CNI plugin has told of before their objects know it.

use super::{Bed, ip, pod, policy};
use crate::{
    engine::view::{EndpointState, PendingReason, Progress},
    index::Wired,
    model::Name,
};

fn wired(attachment: &str, uid: &str, addr: &str) -> Wired {
    Wired { attachment: attachment.into(), uid: uid.into(), addresses: vec![ip(addr)] }
}

fn name() -> Name {
    Name::new("shop", "db")
}

fn object(node: &str, uid: &str, more: &str, addresses: &[&str]) -> String {
    pod("shop/db", node, "{app: db}", addresses, "").replacen(
        "metadata: {",
        &format!("metadata: {{uid: {uid}, {more}"),
        1,
    ) + &policy("shop/p", "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 80}]}]}")
}

fn progress(bed: &Bed, uid: &str) -> Progress {
    bed.engine.progress(&name(), uid)
}

fn policed() -> Progress {
    Progress::Policed { state: EndpointState::Ready, netns: "ns10".into() }
}

fn pending(reason: PendingReason) -> Progress {
    Progress::Pending(reason)
}

#[test]
fn a_pod_without_an_address_gets_its_policy_by_its_wiring_in_whatever_order_they_come() {
    let told: fn(&mut Bed) = |bed| {
        bed.apply(&object("node1", "u1", "", &[]));
    };
    let up: fn(&mut Bed) = |bed| {
        bed.up(10, &["10.0.0.10"]);
    };
    let wire: fn(&mut Bed) = |bed| {
        bed.engine.wire(&name(), wired("a", "u1", "10.0.0.10"));
        bed.settle();
    };
    let orders = [[told, up, wire], [wire, told, up], [up, wire, told]];
    for order in orders {
        let mut bed = Bed::new();
        for step in order {
            assert_ne!(progress(&bed, "u1"), policed());
            step(&mut bed);
        }
        assert_eq!(progress(&bed, "u1"), policed());
        assert!(bed.fake.rows().endpoints.contains_key(&10));
        assert!(!bed.tcp("10.0.1.1", "10.0.0.10", 81).is_allowed());
        // Then the kubelet reports the address, and the wiring is not needed any more.
        bed.apply(&object("node1", "u1", "", &["10.0.0.10"]));
        let rows = bed.fake.rows().clone();
        bed.engine.unwire(&name(), "a");
        bed.settle();
        assert_eq!(*bed.fake.rows(), rows);
    }
}

#[test]
fn what_is_unwired_is_closed_and_an_earlier_wiring_takes_nothing_with_it() {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]).apply(&object("node1", "u1", "", &[]));
    for attachment in ["old", "new"] {
        bed.engine.wire(&name(), wired(attachment, "u1", "10.0.0.10"));
    }
    bed.engine.unwire(&name(), "old");
    bed.settle();
    assert_eq!(progress(&bed, "u1"), policed());
    bed.engine.unwire(&name(), "new");
    bed.settle();
    assert_eq!(progress(&bed, "u1"), pending(PendingReason::NoAddress));
    assert!(bed.fake.rows().endpoints.is_empty());
}

#[test]
fn a_wiring_is_one_pods_only() {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]);
    bed.engine.wire(&name(), wired("a", "u2", "10.0.0.10"));
    assert_eq!(progress(&bed, "u2"), Progress::Unknown);
    bed.apply(&object("node1", "u1", "", &[]));
    assert_eq!(progress(&bed, "u2"), Progress::Another("u1".into()), "an earlier pod of this name");
    bed.apply(&object("node2", "u2", "", &[]));
    assert_eq!(progress(&bed, "u2"), Progress::Elsewhere);
    assert!(bed.fake.rows().endpoints.is_empty() && !bed.fake.rows().peers.contains_key(&ip("10.0.0.10")));
    bed.apply(&object("node1", "u2", "", &[]));
    assert_eq!(progress(&bed, "u2"), policed());
    // The kubelet of a static pod has an UID of its own for it.
    bed.apply(&object("node1", "u3", "annotations: {kubernetes.io/config.mirror: u2}, ", &[]));
    assert_eq!(progress(&bed, "u2"), policed());
    assert_eq!(progress(&bed, ""), policed(), "a runtime that does not tell");
}
