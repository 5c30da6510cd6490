//! Suggested policies deny nothing of what was seen, whatever the cluster looks like.

use k8s_openapi::api::{core::v1::Pod, networking::v1::NetworkPolicy};
use netpol_common::net::proto::{ICMP, SCTP, TCP, UDP};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::history::{PolicyChange, judge::Judge, simulate, suggest};

const NAMESPACES: [&str; 3] = ["shop", "ops", "kube-system"];

prop_compose! {
    fn labels()(
        app in proptest::option::weighted(0.8, select(vec!["web", "db", "api"])),
        tier in proptest::option::of(select(vec!["front", "back"])),
        name in proptest::option::weighted(0.2, select(vec!["web", "db"])),
        hash in proptest::option::of(select(vec!["a1", "b2"])),
    ) -> Value {
        let mut labels = json!({});
        let keys = ["app", "tier", "app.kubernetes.io/name", "pod-template-hash"];
        for (key, value) in keys.iter().zip([app, tier, name, hash]) {
            if let Some(value) = value { labels[*key] = json!(value) }
        }
        labels
    }
}

prop_compose! {
    /// A pod with two containers' ports, which may have names; the names may mean other numbers elsewhere.
    fn some_pod()(
        namespace in select(NAMESPACES.to_vec()),
        labels in labels(),
        ports in vec((select(vec![80u16, 81]), select(vec!["http", "admin"]), select(vec!["TCP", "UDP"])), 0..3),
        there in any::<bool>(),
    ) -> (&'static str, Value, Value, bool) {
        let ports = ports.iter().map(|(n, name, p)| json!({"containerPort": n, "name": name, "protocol": p}));
        (namespace, labels, ports.collect(), there)
    }
}

/// One end: a pod by its place in the list, a node or an address.
#[derive(Clone, Debug)]
enum Whom {
    Pod(prop::sample::Index),
    Node(u8),
    Outside(u8),
}

fn whom() -> impl Strategy<Value = Whom> {
    prop_oneof![
        6 => any::<prop::sample::Index>().prop_map(Whom::Pod),
        1 => (1u8..3).prop_map(Whom::Node),
        1 => any::<u8>().prop_map(Whom::Outside),
    ]
}

prop_compose! {
    fn existing()(
        namespace in select(NAMESPACES.to_vec()),
        subject in labels(), peer in labels(), port in select(vec![json!(80), json!("http")]),
        types in select(vec![json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]),
        name in select(vec!["web", "db", "x"]),
    ) -> NetworkPolicy {
        let peer = json!([{"namespaceSelector": {}, "podSelector": {"matchLabels": peer}}]);
        serde_json::from_value(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"podSelector": {"matchLabels": subject}, "policyTypes": types,
                     "ingress": [{"from": peer.clone(), "ports": [{"port": port.clone()}]}],
                     "egress": [{"to": peer, "ports": [{"port": port}]}]},
        })).unwrap()
    }
}

fn address(i: usize) -> String {
    format!("10.244.0.{}", i + 1)
}

fn object(i: usize, (namespace, labels, ports, _): &(&str, Value, Value, bool)) -> Pod {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{i}"), "namespace": namespace, "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address(i)}]},
    }))
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn nothing_that_was_seen_is_denied(
        pods in vec(some_pod(), 1..8),
        flows in vec((whom(), whom(), select(vec![TCP, UDP, SCTP, ICMP]), select(vec![53u16, 80, 81])), 1..20),
        policies in vec(existing(), 0..4),
    ) {
        let end = |whom: &Whom| match whom {
            Whom::Pod(i) => {
                let i = i.index(pods.len());
                let (namespace, labels, ..) = &pods[i];
                pod(&format!("{namespace}/p{i}"), &address(i), labels.clone(), ["", ""])
            }
            Whom::Node(n) => node(&format!("n{n}"), &format!("192.0.2.{n}")),
            Whom::Outside(n) => outside(&format!("203.0.113.{n}")),
        };
        let all: Vec<_> = flows
            .iter()
            .map(|(from, to, protocol, port)| seen(end(from), end(to), *protocol, if *protocol == ICMP { 0 } else { *port }))
            .filter(|seen| seen.source.pod.is_none() || seen.source.pod != seen.destination.pod)
            .collect();
        // Some have gone since.
        let there = pods.iter().enumerate().filter(|(_, pod)| pod.3).map(|(i, pod)| object(i, pod));
        let world = World { pods: there.collect(), ..World::default() };
        let suggested: Vec<_> = NAMESPACES.iter().flat_map(|ns| suggest(&world, &all, ns).policies).collect();

        // Alone.
        let mut judge = Judge::new(&world, &suggested);
        for seen in &all {
            let judgement = judge.judge(seen).unwrap();
            prop_assert!(judgement.allowed(), "{seen:?}\n{judgement:?}\n{suggested:?}");
        }
        // Beside or in place of others: nothing that passed is denied.
        let world = World { policies: policies.clone(), ..world.clone() };
        let apply: Vec<_> = NAMESPACES.iter().flat_map(|ns| suggest(&world, &all, ns).policies).collect();
        let simulation = simulate(&world, &all, &PolicyChange { apply, delete: Vec::new() }).unwrap();
        prop_assert_eq!(&simulation.unanswered, &Vec::<String>::new());
        for changed in &simulation.changed {
            prop_assert!(changed.judgement.allowed(), "{:?}", changed);
        }
        // And they do isolate: a labelled pod that was seen takes nothing from a stranger on a port of its own.
        let stranger = outside("198.51.100.1");
        for seen_end in all.iter().flat_map(|seen| [&seen.source, &seen.destination]) {
            let labels = crate::history::labels::lasting(&seen_end.labels);
            if seen_end.namespace.is_some() && !labels.is_empty() {
                let question = seen(stranger.clone(), seen_end.clone(), TCP, 9);
                prop_assert!(!judge.judge(&question).unwrap().allowed(), "{question:?}");
            }
        }
    }
}
