//! What does not fit is refused before it is written.

use std::fmt::Write as _;

use super::{Bed, ROOMY, pod, policy};
use crate::{
    dataplane::Capacity,
    engine::{
        Shortage,
        view::{EndpointState, PendingReason},
    },
    model::Name,
    plan::Refusal,
};

const WEB: &str =
    "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]}";

pub(super) fn small(capacity: Capacity) -> Bed {
    let mut bed = Bed::with(capacity);
    bed.up(10, &["10.0.0.10"]);
    bed.apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.apply(&pod("shop/web", "node2", "{app: web}", &["10.0.1.1"], ""));
    bed.apply(&policy("shop/p", WEB));
    bed
}

const TWO: &str = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: 198.51.100.0/24}}]}]}";

fn refused(name: &str, map: &'static str, need: usize, capacity: usize) -> Refusal {
    Refusal::Policy { policy: Name::new("shop", name), shortage: Shortage { map, need, capacity } }
}

#[test]
fn a_refused_policy_keeps_its_last_good_revision_and_holds_up_nothing_else() {
    let mut bed = small(Capacity { cidrs: 1, ..ROOMY });
    let before = bed.fake.rows().clone();
    bed.feed(&policy("shop/p", TWO));
    let refusal = refused("p", "np_cidr4", 2, 1);
    assert_eq!(
        refusal.to_string(),
        "NetworkPolicy shop/p does not fit: np_cidr4 has room for 1 rows, 2 are needed; its last good revision stays \
         in force, and what it newly selects is isolated"
    );
    assert_eq!(bed.settle_with(|_, _| ()), std::slice::from_ref(&refusal));
    assert_eq!(*bed.fake.rows(), before);
    assert_eq!(
        bed.engine.policies()[0].refused.as_deref(),
        Some("np_cidr4 has room for 1 rows, 2 are needed")
    );

    // Pods, labels, other policies and services go on changing.
    bed.feed(&pod("shop/db2", "node1", "{app: db}", &["10.0.0.11"], ""));
    bed.engine.interface_up(super::interface(11, &["10.0.0.11"]));
    bed.feed(&pod("shop/web", "node2", "{app: none}", &["10.0.1.1"], ""));
    bed.feed(&pod("shop/web2", "node2", "{app: web}", &["10.0.1.2"], ""));
    bed.feed(&policy("shop/out", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}"));
    bed.feed("{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}}");
    assert_eq!(bed.settle_with(|_, _| ()), std::slice::from_ref(&refusal));
    for db in ["10.0.0.10", "10.0.0.11"] {
        assert_eq!(bed.ingress_rule("10.0.1.2", db, 80), "p spec.ingress[0]");
        assert!(!bed.tcp("10.0.1.1", db, 80).is_allowed(), "it is not web any more");
        assert!(!bed.tcp("192.0.2.1", db, 80).is_allowed(), "the new revision is not in force");
        assert!(!bed.tcp(db, "10.0.1.2", 80).is_allowed(), "another policy is");
    }
    assert_eq!(bed.backends("10.96.0.1", 80, 6).expect("a service"), ["10.0.1.2:80"]);
    assert!(bed.engine.endpoints().iter().all(|e| e.state == EndpointState::Ready));

    bed.apply(&policy("shop/p", WEB));
    assert_eq!(bed.engine.policies()[1].refused, None);
}

#[test]
fn what_a_refused_policy_newly_selects_is_isolated_and_the_others_are_not() {
    let mut bed = small(Capacity { cidrs: 1, ..ROOMY });
    bed.up(11, &["10.0.0.11"]).apply(&pod("shop/cache", "node1", "{app: cache}", &["10.0.0.11"], ""));
    bed.delete("NetworkPolicy", "shop", "p");
    bed.feed(&policy("shop/q", &TWO.replace("podSelector: {}", "podSelector: {matchLabels: {app: cache}}")));
    assert_eq!(bed.settle_with(|_, _| ()), [refused("q", "np_cidr4", 2, 1)]);
    assert!(!bed.tcp("192.0.2.1", "10.0.0.11", 80).is_allowed(), "closed");
    assert_eq!(bed.ingress_rule("192.0.2.1", "10.0.0.11", 80), "denied by q");
    assert!(bed.tcp("10.0.0.11", "192.0.2.1", 80).is_allowed(), "it isolates for ingress only");
    assert!(bed.tcp("192.0.2.1", "10.0.0.10", 80).is_allowed(), "it selects another pod");
    bed.delete("NetworkPolicy", "shop", "q");
    assert!(bed.tcp("192.0.2.1", "10.0.0.11", 80).is_allowed());
}

#[test]
fn the_policy_that_asks_most_is_held_back_and_the_others_of_its_batch_are_not() {
    let mut bed = small(Capacity { cidrs: 3, ..ROOMY });
    let blocks = |count: usize| {
        let blocks: Vec<String> =
            (0..count).map(|n| format!("{{ipBlock: {{cidr: 192.0.{n}.0/24}}}}")).collect();
        format!("{{podSelector: {{}}, ingress: [{{from: [{}]}}]}}", blocks.join(", "))
    };
    bed.feed(&policy("shop/a", &blocks(2)));
    bed.feed(&policy("shop/b", &blocks(9)));
    bed.feed(&policy("shop/c", &blocks(3)));
    assert_eq!(bed.settle_with(|_, _| ()), [refused("b", "np_cidr4", 9, 3)]);
    assert!(bed.tcp("192.0.2.1", "10.0.0.10", 80).is_allowed(), "allowed by c");
}

#[test]
fn a_refused_policy_is_tried_again_when_there_is_room() {
    let mut bed = small(Capacity { cidrs: 2, ..ROOMY });
    bed.apply(&policy("shop/first", TWO));
    bed.feed(&policy("shop/second", &TWO.replace("192.0.2", "203.0.113")));
    assert_eq!(bed.settle_with(|_, _| ()), [refused("second", "np_cidr4", 3, 2)]);
    assert!(!bed.tcp("203.0.113.1", "10.0.0.10", 80).is_allowed());
    bed.delete("NetworkPolicy", "shop", "first");
    assert!(bed.tcp("203.0.113.1", "10.0.0.10", 80).is_allowed());
}

#[test]
fn what_goes_makes_room_for_what_comes_with_it() {
    let mut bed = small(Capacity { cidrs: 3, ..ROOMY });
    bed.apply(&policy("shop/old", TWO));
    let new = TWO.replace("192.0.2", "203.0.113").replace("198.51.100", "203.0.114");
    bed.engine.delete(&crate::model::ObjectRef {
        kind: "NetworkPolicy".into(),
        namespace: "shop".into(),
        name: "old".into(),
    });
    bed.feed(&policy("shop/new", &new));
    // Four rows at the peak, two in the end.
    assert_eq!(bed.settle_with(|_, _| ()), []);
    assert_eq!(bed.fake.rows().cidrs.len(), 2);
    assert!(bed.tcp("203.0.114.1", "10.0.0.10", 80).is_allowed());
}

#[test]
fn work_is_in_proportion_while_a_policy_is_refused() {
    let mut bed = small(Capacity { cidrs: 1, ..ROOMY });
    bed.feed(&policy("shop/big", TWO));
    bed.settle_with(|_, _| ());
    bed.fake.take_counts();
    bed.feed(&pod("shop/web2", "node2", "{app: web}", &["10.0.1.2"], ""));
    assert_eq!(bed.settle_with(|_, _| ()).len(), 1);
    let counts = bed.fake.take_counts();
    assert_eq!(counts.get("put np_peer4").or(counts.get("np_peer4")), Some(&1), "{counts:?}");
    assert_eq!(counts.len(), 3, "and a change that begins, and its epoch: {counts:?}");
}

#[test]
fn each_map_is_asked() {
    let wide = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 1, endPort: 65534}]}]}";
    for (capacity, map, of_a_policy) in [
        (Capacity { ports: 8, ..ROOMY }, "np_port", true),
        (Capacity { policy: 1, ..ROOMY }, "np_policy", true),
        (Capacity { peers: 2, ..ROOMY }, "np_peer4", false),
        (Capacity { endpoints: 1, ..ROOMY }, "np_ep", false),
    ] {
        let mut bed = small(capacity);
        bed.feed(&policy("shop/p", wide));
        bed.feed(&pod("shop/web2", "node2", "{app: web}", &["10.0.1.2"], ""));
        bed.feed(&pod("shop/db2", "node1", "{app: db}", &["10.0.0.11"], ""));
        bed.engine.interface_up(super::interface(11, &["10.0.0.11"]));
        let refusals = bed.settle_with(|_, _| ());
        let [refusal] = &refusals[..] else { panic!("{map}: {refusals:?}") };
        assert_eq!(refusal.shortage().map(|shortage| shortage.map), Some(map));
        assert_eq!(matches!(refusal, Refusal::Policy { .. }), of_a_policy, "{map}");
        assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed(), "{map}: what was allowed still is");
        let closed = match map {
            // Without a row it is nobody's peer.
            "np_peer4" => bed.tcp("10.0.1.2", "10.0.0.10", 80),
            _ => bed.tcp("10.0.1.2", "10.0.0.11", 90),
        };
        assert!(!closed.is_allowed(), "{map}: what found no room is closed");
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

#[test]
fn new_labels_that_find_no_room_hold_everything_up_until_others_go() {
    let mut bed = Bed::with(Capacity { policy: 2, ..ROOMY });
    bed.up(10, &["10.0.0.10"]).apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.apply(&policy(
        "shop/p",
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}, \
         {from: [{podSelector: {matchLabels: {team: a}}}], ports: [{port: 81}]}]}",
    ));
    bed.apply(&pod("shop/web", "node2", "{app: web}", &["10.0.1.1"], ""));
    bed.apply(&pod("shop/a", "node2", "{team: a}", &["10.0.1.2"], ""));
    // What the rules say of web, of a, and of both are three rows.
    bed.feed(&pod("shop/both", "node2", "{app: web, team: a}", &["10.0.1.3"], ""));
    bed.feed(&pod("shop/db2", "node1", "{app: db}", &["10.0.0.11"], ""));
    bed.engine.interface_up(super::interface(11, &["10.0.0.11"]));
    let refusal = Refusal::Capacity { map: "np_policy", need: 3, capacity: 2 };
    assert_eq!(bed.settle_with(|_, _| ()), [refusal]);
    assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    assert!(!bed.tcp("10.0.1.3", "10.0.0.10", 80).is_allowed());
    assert_eq!(bed.engine.endpoints()[1].pending, Some(PendingReason::Refused));

    bed.delete("Pod", "shop", "a");
    assert!(bed.tcp("10.0.1.3", "10.0.0.10", 80).is_allowed());
    assert!(bed.tcp("10.0.1.3", "10.0.0.11", 81).is_allowed());
    assert_eq!(bed.fake.rows().policy.len(), 2);
}
