//! The rows depend on the objects, not on the way to them.

use proptest::prelude::*;

use super::{Bed, interface, normal_form, pod, policy};
use crate::model::ObjectRef;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Apply(String),
    Delete(&'static str, &'static str, &'static str),
    Up(u32, Vec<&'static str>),
    Gone(u32),
    Settle,
}

fn feed(bed: &mut Bed, event: &Event) {
    match event {
        Event::Apply(yaml) => bed.feed(yaml),
        Event::Delete(kind, namespace, name) => bed.engine.delete(&ObjectRef {
            kind: (*kind).into(),
            namespace: (*namespace).into(),
            name: (*name).into(),
        }),
        Event::Up(ifindex, addresses) => bed.engine.interface_up(interface(*ifindex, addresses)),
        Event::Gone(ifindex) => bed.engine.interface_gone(*ifindex),
        Event::Settle => {
            bed.settle();
        }
    }
}

/// What is there in the end.
fn objects() -> Vec<Event> {
    let http = "ports: [{name: http, containerPort: 8080}]";
    let texts = [
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}".to_owned(),
        "{apiVersion: v1, kind: Namespace, metadata: {name: ops, labels: {team: b}}}".to_owned(),
        pod("shop/db", "node1", "{app: db}", &["10.0.0.10", "fd00::10"], http),
        pod("shop/cache", "node1", "{app: cache}", &["10.0.0.11"], ""),
        pod("shop/web", "node2", "{app: web, v: '1'}", &["10.0.1.1", "fd00::1:1"], http),
        pod("ops/tool", "node2", "{app: web}", &["10.0.2.1"], http),
        policy("shop/a", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: http}]}]}"),
        policy("shop/b", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.0.1.0/24]}}]}], egress: [{ports: [{port: http}]}, {to: [{ipBlock: {cidr: 10.0.2.0/24}}], ports: [{port: 1, endPort: 99}]}]}"),
        policy("ops/c", "{podSelector: {}}"),
        "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}}".to_owned(),
        "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: dup}, spec: {clusterIP: 10.96.0.1, selector: {app: db}, ports: [{port: 80}, {port: 81}]}}".to_owned(),
    ];
    let interfaces = [Event::Up(10, vec!["10.0.0.10", "fd00::10"]), Event::Up(11, vec!["10.0.0.11"])];
    texts.into_iter().map(Event::Apply).chain(interfaces).collect()
}

/// What happens on the way and is undone or overwritten by [`objects`].
fn noise() -> Vec<Event> {
    vec![
        Event::Settle,
        Event::Apply(pod("shop/web", "node2", "{app: none}", &["10.0.1.9"], "")),
        Event::Apply(pod("shop/db", "node2", "{app: web}", &["10.0.0.11"], "")),
        Event::Apply(pod("shop/cache", "node1", "{app: db}", &["10.0.0.11"], "")),
        Event::Apply(policy(
            "shop/a",
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/16}}]}]}",
        )),
        Event::Apply(policy("shop/b", "{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}")),
        Event::Apply("{apiVersion: v1, kind: Namespace, metadata: {name: ops}}".to_owned()),
        Event::Delete("Pod", "shop", "db"),
        Event::Delete("NetworkPolicy", "shop", "b"),
        Event::Delete("Namespace", "", "ops"),
        Event::Apply(
            "{apiVersion: v1, kind: Namespace, metadata: {name: ops}, status: {phase: Terminating}}"
                .to_owned(),
        ),
        Event::Delete("NetworkPolicy", "ops", "c"),
        Event::Delete("Service", "shop", "web"),
        Event::Delete("Pod", "never", "there"),
        Event::Gone(10),
        Event::Up(10, vec!["10.0.0.11"]),
        Event::Up(11, vec!["10.0.0.10", "10.0.0.11"]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_order_replay_and_repetition_gives_the_same_rows(
        before in proptest::collection::vec(proptest::sample::select(noise()), 0..12),
        order in Just(objects()).prop_shuffle(),
        settles in proptest::collection::vec(any::<bool>(), 13),
        again in proptest::sample::subsequence(objects(), 0..6),
    ) {
        let mut reference = Bed::new();
        objects().iter().for_each(|event| feed(&mut reference, event));
        reference.settle();

        let mut bed = Bed::new();
        before.iter().for_each(|event| feed(&mut bed, event));
        // An interface that is known under other addresses is told again as it is.
        for (event, settle) in order.iter().zip(&settles) {
            feed(&mut bed, event);
            if *settle {
                bed.settle();
            }
        }
        again.iter().for_each(|event| feed(&mut bed, event));
        bed.settle();
        prop_assert_eq!(normal_form(&bed.fake), normal_form(&reference.fake));
    }
}
