use netpol_common::net::proto;
use serde_json::json;

use super::{
    super::{MissedPeer, MissedPort, PeerMiss, PortMiss, RuleMatch, Verdict},
    ask, into_db, named_policy, out_of_db,
};

#[test]
fn an_allowed_connection_names_every_rule_peer_and_port() {
    let mut world = into_db(json!([
        {"from": [{"podSelector": {"matchLabels": {"app": "tool"}}}]},
        {"from": [{"podSelector": {"matchLabels": {"app": "tool"}}}, {"podSelector": {}}], "ports": [{"port": 1}, {"port": 80}]}
    ]));
    world.policies.push(named_policy("a", json!({"podSelector": {}, "ingress": [{}]})));
    let Verdict::Allowed { isolated_by, rules } = ask(&world, "shop/web", "shop/db", proto::TCP, 80).ingress
    else {
        panic!("denied")
    };
    assert_eq!(isolated_by.iter().map(ToString::to_string).collect::<Vec<_>>(), ["shop/a", "shop/p"]);
    let [
        RuleMatch { index: 0, peer: None, port: None, .. },
        RuleMatch { policy, index: 1, path, peer: Some(peer), port: Some(port) },
    ] = rules.as_slice()
    else {
        panic!("{rules:?}")
    };
    assert_eq!(policy.to_string(), "shop/p");
    assert_eq!(path, "spec.ingress[1]");
    assert_eq!(peer, "spec.ingress[1].from[1]");
    assert_eq!(port, "spec.ingress[1].ports[1]");
}

#[test]
fn the_nearest_miss_comes_first_and_says_what_it_lacked() {
    let world = into_db(json!([
        {"from": [{"podSelector": {"matchLabels": {"app": "tool"}}}], "ports": [{"port": 443}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"team": "ops"}}}], "ports": [{"port": 80}]},
        {"from": [{"podSelector": {}}], "ports": [{"port": 443}, {"port": "dns", "protocol": "UDP"}]}
    ]));
    let verdict = ask(&world, "shop/web", "shop/db", proto::TCP, 80).ingress;
    let nearest = verdict.nearest_miss().expect("a rule");
    assert_eq!((nearest.index, nearest.peers.len()), (2, 0));
    assert_eq!(
        nearest.ports,
        [
            MissedPort {
                path: "spec.ingress[2].ports[0]".into(),
                why: PortMiss::OtherPort { first: 443, last: 443 }
            },
            MissedPort {
                path: "spec.ingress[2].ports[1]".into(),
                why: PortMiss::OtherProtocol { protocol: "UDP".into() }
            },
        ]
    );
    let Verdict::Denied { misses, .. } = &verdict else { panic!("allowed") };
    assert_eq!(misses.iter().map(|miss| miss.index).collect::<Vec<_>>(), [2, 1, 0]);
    let why = PeerMiss::NamespaceLabels { namespace: "shop".into() };
    assert_eq!(misses[1].peers, [MissedPeer { path: "spec.ingress[1].from[0]".into(), why }]);
    assert_eq!(
        nearest.to_string(),
        "shop/p spec.ingress[2]; spec.ingress[2].ports[0]: it allows 443, spec.ingress[2].ports[1]: it is for UDP"
    );
}

#[test]
fn every_way_a_peer_can_miss_has_a_reason() {
    let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr, "except": ["10.0.2.0/24"]}});
    for (peer, why) in [
        (json!({"podSelector": {}}), PeerMiss::OtherNamespace { namespace: "ops".into() }),
        (
            json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}),
            PeerMiss::PodLabels { pod: "ops/tool".into() },
        ),
        (block("11.0.0.0/8"), PeerMiss::OutsideBlock { block: "11.0.0.0/8".into() }),
        (block("10.0.0.0/8"), PeerMiss::Excepted { except: "10.0.2.0/24".into() }),
        (json!({"ipBlock": {"cidr": "::/0"}}), PeerMiss::OtherFamily { block: "::/0".into() }),
    ] {
        let world = out_of_db(json!([{"to": [peer]}]));
        let verdict = ask(&world, "shop/db", "ops/tool", proto::TCP, 80).egress;
        let miss = verdict.nearest_miss().expect("a rule");
        assert_eq!(miss.peers, [MissedPeer { path: "spec.egress[0].to[0]".into(), why }], "{peer}");
    }
    let world = out_of_db(json!([{"to": [{"podSelector": {}}], "ports": [{"port": "http"}]}]));
    let verdict = ask(&world, "shop/db", "8.8.8.8", proto::TCP, 80).egress;
    let miss = verdict.nearest_miss().expect("a rule");
    assert_eq!(miss.peers[0].why, PeerMiss::NotAPod);
    assert_eq!(miss.ports[0].why, PortMiss::NoSuchName { name: "http".into(), protocol: "TCP".into() });
}

#[test]
fn a_policy_without_rules_is_named_without_a_miss() {
    let verdict = ask(&into_db(json!([])), "shop/web", "shop/db", proto::TCP, 80).ingress;
    let Verdict::Denied { isolated_by, misses } = verdict else { panic!("allowed") };
    assert_eq!((isolated_by.len(), misses.len()), (1, 0));
}
