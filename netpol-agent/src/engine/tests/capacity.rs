//! What does not fit is refused before it is written.

use std::fmt::Write as _;

use super::{Bed, ROOMY, pod, policy};
use crate::{dataplane::Capacity, engine::view::EndpointState, plan::Refusal};

const WEB: &str =
    "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]}";

fn small(capacity: Capacity) -> Bed {
    let mut bed = Bed::with(capacity);
    bed.up(10, &["10.0.0.10"]);
    bed.apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.apply(&pod("shop/web", "node2", "{app: web}", &["10.0.1.1"], ""));
    bed.apply(&policy("shop/p", WEB));
    bed
}

#[test]
fn a_refused_policy_leaves_the_last_good_one_in_force_and_new_pods_closed() {
    let mut bed = small(Capacity { cidrs: 1, ..ROOMY });
    let before = bed.fake.rows().clone();
    let two = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: 198.51.100.0/24}}]}]}";
    bed.feed(&policy("shop/p", two));
    let refusal = Refusal::Capacity { map: "np_cidr4", need: 2, capacity: 1 };
    assert_eq!(refusal.to_string(), "np_cidr4 has room for 1 rows, 2 are needed");
    assert_eq!(bed.settle_with(|_, _| ()), std::slice::from_ref(&refusal));
    assert_eq!(*bed.fake.rows(), before);
    assert_eq!(bed.engine.endpoints()[0].state, EndpointState::Changing);

    bed.feed(&pod("shop/db2", "node1", "{app: db}", &["10.0.0.11"], ""));
    bed.engine.interface_up(super::interface(11, &["10.0.0.11"]));
    assert_eq!(bed.settle_with(|_, _| ()), std::slice::from_ref(&refusal));
    assert_eq!(bed.engine.endpoints()[1].state, EndpointState::Pending);
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());

    // What is gone is closed all the same, and services go on.
    bed.engine.interface_gone(10);
    bed.feed("{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}}");
    assert_eq!(bed.settle_with(|_, _| ()), [refusal]);
    assert!(!bed.fake.rows().endpoints.contains_key(&10));
    assert_eq!(bed.backends("10.96.0.1", 80, 6).expect("a service"), ["10.0.1.1:80"]);

    bed.apply(&policy("shop/p", WEB));
    assert_eq!(bed.engine.endpoints()[1].state, EndpointState::Ready);
}

#[test]
fn each_map_is_asked() {
    let wide = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 1, endPort: 65534}]}]}";
    for (capacity, map) in [
        (Capacity { ports: 8, ..ROOMY }, "np_port"),
        (Capacity { policy: 1, ..ROOMY }, "np_policy"),
        (Capacity { peers: 2, ..ROOMY }, "np_peer4"),
        (Capacity { endpoints: 1, ..ROOMY }, "np_ep"),
    ] {
        let mut bed = small(capacity);
        bed.feed(&policy("shop/p", wide));
        bed.feed(&pod("shop/web2", "node2", "{app: web}", &["10.0.1.2"], ""));
        bed.feed(&pod("shop/db2", "node1", "{app: db}", &["10.0.0.11"], ""));
        bed.engine.interface_up(super::interface(11, &["10.0.0.11"]));
        let refusals = bed.settle_with(|_, _| ());
        assert!(
            matches!(refusals[..], [Refusal::Capacity { map: m, .. }] if m == map),
            "{map}: {refusals:?}"
        );
    }
}

#[test]
fn a_large_policy_fits_because_ports_are_shared() {
    let capacity = Capacity {
        ports: netpol_common::limits::PORT as usize,
        policy: netpol_common::limits::POLICY as usize,
        cidrs: netpol_common::limits::CIDR as usize,
        peers: netpol_common::limits::PEER as usize,
        ..ROOMY
    };
    let mut bed = Bed::with(capacity);
    bed.up(10, &["10.0.0.10"]).apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    // 1,000 rules with 100 peers and 100 ports each: spelled out that is ten million rows.
    let mut spec = String::from("{\"podSelector\": {}, \"ingress\": [");
    for rule in 0..1000 {
        let comma = if rule == 0 { "" } else { "," };
        write!(spec, "{comma}{{\"from\": [").expect("a string");
        for peer in 0..100 {
            let n = rule * 50 + peer / 2;
            let (a, b) = (n >> 8, n & 255);
            let cidr = if peer % 2 == 0 { format!("20.{a}.{b}.0/24") } else { format!("fd00:{n:x}::/32") };
            write!(spec, "{}{{\"ipBlock\": {{\"cidr\": \"{cidr}\"}}}}", if peer == 0 { "" } else { "," })
                .expect("a string");
        }
        spec.push_str("], \"ports\": [");
        for port in 0..100 {
            write!(spec, "{}{{\"port\": {}}}", if port == 0 { "" } else { "," }, 1 + port * 7 + rule % 5)
                .expect("a string");
        }
        spec.push_str("]}");
    }
    spec.push_str("]}");
    let spec = serde_json::from_str(&spec).expect("a spec");
    let metadata = crate::engine::tests::meta("shop", "large");
    let manifest = k8s_openapi::api::networking::v1::NetworkPolicy { metadata, spec: Some(spec) };
    bed.engine.apply(crate::model::convert(&crate::model::Manifest::NetworkPolicy(Box::new(manifest)), ""));
    bed.settle();
    let rows = bed.fake.rows();
    assert_eq!((rows.cidrs.len(), rows.policy.len()), (100_000, 100_000));
    assert_eq!(rows.ports.len(), 100_000, "one set of 100 ports per rule, not per peer");
    assert!(bed.tcp("20.0.1.7", "10.0.0.10", 8).is_allowed());
    assert!(!bed.tcp("20.0.1.7", "10.0.0.10", 9).is_allowed());
}

#[test]
fn services_that_do_not_fit_are_refused_and_the_others_stay() {
    let mut bed = small(Capacity { backends: 4, ..ROOMY });
    let service = |name: &str, addr: &str, app: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: {name}}}, spec: {{clusterIP: {addr}, selector: {{app: {app}}}, ports: [{{port: 80}}]}}}}\n---\n"
        )
    };
    bed.apply(&service("web", "10.96.0.1", "web"));
    for i in 0..4 {
        bed.feed(&pod(&format!("shop/many-{i}"), "node2", "{app: many}", &[&format!("10.0.4.{i}")], ""));
    }
    bed.feed(&service("many", "10.96.0.2", "many"));
    let refusals = bed.settle_with(|_, _| ());
    assert_eq!(refusals, [Refusal::Capacity { map: "np_be4", need: 5, capacity: 4 }]);
    assert_eq!(bed.backends("10.96.0.1", 80, 6).expect("a service"), ["10.0.1.1:80"]);
    assert_eq!(bed.backends("10.96.0.2", 80, 6), None);
    bed.engine.delete(&crate::model::ObjectRef {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: "many-3".into(),
    });
    bed.settle();
    assert_eq!(bed.backends("10.96.0.2", 80, 6).expect("a service").len(), 3);
}

#[test]
fn an_address_that_passes_on_while_policy_is_refused_leaves_its_rights_behind() {
    let mut bed = small(Capacity { cidrs: 1, ..ROOMY });
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    let two = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: 198.51.100.0/24}}]}]}";
    bed.feed(&policy("shop/q", two));
    bed.engine.delete(&crate::model::ObjectRef {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: "web".into(),
    });
    bed.feed(&pod("shop/stranger", "node2", "{app: x}", &["10.0.1.1"], ""));
    assert_eq!(bed.settle_with(|_, _| ()).len(), 1);
    assert!(!bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
}
