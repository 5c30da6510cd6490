//! What the engine tells about itself.

use super::{Bed, ROOMY, pod, policy};
use crate::{
    dataplane::Capacity,
    engine::view::{EndpointState, EndpointView, Identity, Name, PendingReason},
    model::Level,
};

#[test]
fn endpoints_and_policies_tell_who_isolates_whom() {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]).up(99, &["10.0.0.99"]);
    bed.apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.apply(&pod("shop/later", "node1", "{app: db}", &["10.0.0.11"], ""));
    bed.apply(&policy("shop/in", "{podSelector: {}, ingress: [{}]}"));
    bed.apply(&policy("shop/out", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}"));
    bed.apply(&policy("shop/nobody", "{podSelector: {matchLabels: {app: none}}}"));
    let endpoints = bed.engine.endpoints();
    let [db, later, stranger] = &endpoints[..] else { panic!("{endpoints:?}") };
    assert_eq!(
        (db.state, db.ifindex, db.isolated_in, db.isolated_out),
        (EndpointState::Ready, Some(10), true, true)
    );
    assert_eq!(
        (&db.policies_in, &db.policies_out),
        (&vec![Name::new("shop", "in")], &vec![Name::new("shop", "out")])
    );
    assert_eq!((later.state, later.ifindex), (EndpointState::Pending, None));
    assert_eq!((stranger.pod.clone(), stranger.state), (None, EndpointState::Pending));
    let policies = bed.engine.policies();
    let counts: Vec<_> = policies.iter().map(|p| (&*p.policy.name, p.pods, p.rules_in, p.egress)).collect();
    assert_eq!(counts, [("in", 2, 1, false), ("nobody", 0, 0, false), ("out", 2, 0, true)]);
}

#[test]
fn whatever_is_pending_says_why() {
    let why = |bed: &Bed, who: &str| {
        let is_it = |e: &EndpointView| e.pod.as_ref().map_or("-", |pod| &*pod.name) == who;
        let endpoint = bed.engine.endpoints().into_iter().find(is_it).expect("a pod or an interface");
        assert_eq!(endpoint.state == EndpointState::Pending, endpoint.pending.is_some());
        endpoint.pending
    };
    let mut bed = Bed::with(Capacity { endpoints: 1, ..ROOMY });
    bed.restart();
    bed.engine.interface_up(super::interface(10, &["10.0.0.10"]));
    bed.feed(&pod("shop/db", "node1", "{}", &["10.0.0.10"], ""));
    bed.engine.plan();
    assert_eq!(why(&bed, "db"), Some(PendingReason::NotSynced));
    bed.engine.synced();
    bed.engine.plan();
    assert_eq!(why(&bed, "db"), Some(PendingReason::NotWritten));
    bed.settle();
    assert_eq!(why(&bed, "db"), None);

    bed.apply(&pod("shop/fresh", "node1", "{}", &[], ""));
    assert_eq!(why(&bed, "fresh"), Some(PendingReason::NoAddress));
    bed.apply(&pod("shop/fresh", "node1", "{}", &["10.0.0.11"], ""));
    assert_eq!(why(&bed, "fresh"), Some(PendingReason::NoInterface));
    bed.up(12, &["10.0.0.12"]);
    assert_eq!(why(&bed, "-"), Some(PendingReason::NoPod));
    bed.engine.interface_up(super::interface(11, &["10.0.0.11"]));
    assert_eq!(bed.settle_with(|_, _| ()).len(), 1, "there is room for one");
    assert_eq!(why(&bed, "fresh"), Some(PendingReason::Refused));
    bed.engine.interface_gone(10);
    assert_eq!(bed.settle_with(|_, _| ()), []);
    assert_eq!(why(&bed, "fresh"), None);

    bed.engine.interface_up(super::interface(13, &["10.0.0.11"]));
    bed.settle_with(|_, _| ());
    assert_eq!(why(&bed, "fresh"), Some(PendingReason::Contested));
    let ending = pod("shop/db", "node1", "{}", &["10.0.0.10"], "");
    bed.feed(&ending.replacen("metadata: {", "metadata: {deletionTimestamp: '2026-03-01T00:00:00Z', ", 1));
    bed.settle_with(|_, _| ());
    assert_eq!(why(&bed, "db"), Some(PendingReason::Ending));
}

#[test]
fn a_policy_that_selects_nothing_is_noted_while_it_does() {
    let mut bed = Bed::new();
    bed.apply(&policy("shop/p", "{podSelector: {matchLabels: {app: db}}}"));
    let problems = bed.engine.problems();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem.level, Level::Note);
    let line = "test.yaml: NetworkPolicy shop/p: spec.podSelector: selects no pod of its namespace";
    assert_eq!(problem.to_string(), line);
    bed.apply(&pod("shop/db", "node2", "{app: db}", &["10.0.0.10"], ""));
    assert_eq!(bed.engine.problems(), []);
    bed.delete("Pod", "shop", "db");
    assert_eq!(bed.engine.problems().len(), 1);
}

#[test]
fn problems_last_as_long_as_their_object() {
    let mut bed = Bed::new();
    bed.apply(&pod("shop/db", "node2", "{}", &["10.0.0.10"], ""));
    bed.apply(&policy("shop/p", "{podSelector: {}, ingress: [{ports: [{port: 0}]}]}"));
    assert_eq!(bed.engine.problems().len(), 1);
    assert_eq!(bed.engine.policies()[0].problems, 1);
    bed.apply(&policy("shop/p", "{podSelector: {}, ingress: [{ports: [{port: 1}]}]}"));
    assert_eq!(bed.engine.problems(), []);
}

#[test]
fn numbers_and_addresses_have_names_also_after_their_objects_are_gone() {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]).apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.apply(&policy(
        "shop/p",
        "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 80}]}]}",
    ));
    bed.apply("{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}");
    bed.apply("{apiVersion: v1, kind: Node, metadata: {name: node2}, status: {addresses: [{type: InternalIP, address: 172.18.0.2}, {type: Hostname, address: node2}]}}");
    let slot = bed.fake.rows().endpoints[&10].slot_in;
    let crate::dataplane::judge::Verdict::Allowed(rule) = bed.tcp("10.0.9.9", "10.0.0.10", 80).ingress else {
        panic!("allowed by its port")
    };
    for gone in [false, true] {
        if gone {
            bed.delete("NetworkPolicy", "shop", "p")
                .delete("Pod", "shop", "db")
                .delete("Service", "shop", "web");
            bed.delete("Node", "", "node2");
        }
        let names = bed.engine.attribution();
        let rule = names.rule(rule).expect("a name");
        assert_eq!((rule.policy.to_string(), rule.path.as_str()), ("shop/p".into(), "spec.ingress[1]"));
        assert_eq!(names.slot(slot).expect("a name").policies, [Name::new("shop", "p")]);
        assert_eq!(names.interface(10).expect("a name").pod, Name::new("shop", "db"));
        let who = |addr| names.address(super::ip(addr));
        assert!(matches!(who("10.0.0.10"), Some(Identity::Pod(pod)) if &*pod.pod.name == "db"));
        assert_eq!(who("10.96.0.1"), Some(Identity::Service(Name::new("shop", "web"))));
        assert_eq!(who("172.18.0.2"), Some(Identity::Node("node2".into())));
        assert_eq!(who("8.8.8.8"), None);
    }
}
