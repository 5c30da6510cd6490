use netpol_common::net::proto::{ICMP, TCP, UDP};
use serde_json::{Value, json};

use super::*;
use crate::{
    flow::{FlowRecord, Kind, PartyRecord, tests_support::sample},
    history::{Suggestion, suggest},
};

fn specs(suggestion: &Suggestion) -> Vec<(String, Value)> {
    let of = |policy: &k8s_openapi::api::networking::v1::NetworkPolicy| {
        (policy.metadata.name.clone().unwrap(), serde_json::to_value(&policy.spec).unwrap())
    };
    suggestion.policies.iter().map(of).collect()
}

fn only(suggestion: &Suggestion) -> Value {
    let specs = specs(suggestion);
    assert_eq!(specs.len(), 1, "{specs:?}");
    specs.into_iter().next().unwrap().1
}

#[test]
fn each_workload_gets_what_it_was_seen_doing_and_no_more() {
    let all = [
        seen(web(), db(), TCP, 5432),
        seen(web(), dns(), UDP, 53),
        seen(outside("203.0.113.7"), web(), TCP, 8080),
        seen(node("n2", "192.0.2.2"), web(), TCP, 8080),
        seen(web(), outside("2001:db8::1"), TCP, 443),
        // The kubelet of its own node.
        seen(node("n1", "192.0.2.1"), web(), TCP, 8080),
    ];
    let suggestion = suggest(&world(""), &all, "shop");
    let both = json!(["Ingress", "Egress"]);
    let dns = json!({
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": [{"protocol": "TCP", "port": 53}, {"protocol": "UDP", "port": 53}],
    });
    let expected = [
        (
            "db".to_owned(),
            json!({
                "podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": both,
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}],
                             "ports": [{"protocol": "TCP", "port": 5432}]}],
            }),
        ),
        (
            "web".to_owned(),
            json!({
                "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": both,
                "ingress": [{"from": [{"ipBlock": {"cidr": "192.0.2.2/32"}}, {"ipBlock": {"cidr": "203.0.113.7/32"}}],
                             "ports": [{"protocol": "TCP", "port": "http"}]}],
                "egress": [
                    dns,
                    {"to": [{"ipBlock": {"cidr": "2001:db8::1/128"}}], "ports": [{"protocol": "TCP", "port": 443}]},
                    {"to": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"protocol": "TCP", "port": 5432}]},
                ],
            }),
        ),
    ];
    assert_eq!(specs(&suggestion), expected);
    assert_eq!(suggestion.notes, Vec::<String>::new());
}

#[test]
fn what_policies_denied_and_what_others_did_is_left_out() {
    let denied = Observation { verdict: Verdict::Dropped, ..seen(web(), db(), TCP, 22) };
    let others = seen(dns(), outside("203.0.113.7"), UDP, 53);
    let suggestion = suggest(&world(""), &[denied, others], "shop");
    assert_eq!(suggestion, Suggestion::default());
}

#[test]
fn what_another_node_may_have_denied_is_not_allowed() {
    let far = |pod: ObservedParty| ObservedParty { elsewhere: true, ..pod };
    // Egress of web, on this node: what it sends is known to have left. Ingress of db, on another one: nobody here knows.
    let sent = seen(web(), far(db()), TCP, 5432);
    let suggestion = suggest(&world(""), std::slice::from_ref(&sent), "shop");
    let [(name, spec)] = &specs(&suggestion)[..] else { panic!("{suggestion:?}") };
    assert_eq!((name.as_str(), &spec["ingress"]), ("web", &Value::Null));
    assert_eq!(spec["egress"][0]["ports"][0]["port"], 5432);
    assert_eq!(
        suggestion.notes,
        ["no policy for pod shop/db-0: only agents of other nodes know what it receives"]
    );
    // Another pod of db is here, and receives.
    let received = seen(far(web()), db(), TCP, 5433);
    let suggestion = suggest(&world(""), &[sent, received], "shop");
    let [(name, spec), _] = &specs(&suggestion)[..] else { panic!("{suggestion:?}") };
    assert_eq!(name, "db");
    assert_eq!(spec["ingress"][0]["ports"], json!([{"protocol": "TCP", "port": 5433}]));
    assert_eq!(
        suggestion.notes,
        ["db: what its pods on other nodes receive is left out; their agents know what policies let in"]
    );
}

#[test]
fn a_record_says_which_end_is_elsewhere() {
    let record = |egress: &str, ingress: &str| FlowRecord {
        kind: Kind::Opened,
        verdict: Verdict::Forwarded,
        egress: egress.to_owned(),
        ingress: ingress.to_owned(),
        ..sample()
    };
    let ends = |record: &FlowRecord| {
        let seen = Observation::of(record).unwrap();
        (seen.source.elsewhere, seen.destination.elsewhere)
    };
    assert_eq!(ends(&record("not-isolated", "elsewhere")), (false, true));
    assert_eq!(ends(&record("elsewhere", "shop/db spec.ingress[0]")), (true, false));
    let mut from_outside = record("elsewhere", "not-isolated");
    from_outside.source = Some(PartyRecord::unknown("203.0.113.7".parse().unwrap(), 1));
    assert_eq!(ends(&from_outside), (false, false), "no pod");
}

#[test]
fn few_labels_select_unless_another_workload_has_them_too() {
    let pod = |name: &str, labels| pod(name, "10.244.1.30", labels, ["", ""]);
    let many = json!({"app": "api", "tier": "back", "colour": "blue"});
    let alone = [seen(pod("shop/a", many.clone()), outside("203.0.113.7"), TCP, 1)];
    let selector =
        |all: &[Observation]| only(&suggest(&world(""), all, "shop"))["podSelector"]["matchLabels"].clone();
    assert_eq!(selector(&alone), json!({"app": "api"}));
    let crowd = |labels: &str| {
        let labels = format!("labels: {labels}}}\nspec: {{containers: []}}");
        let more = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: b, namespace: shop, {labels}");
        let all = suggest(&world(&more), &alone, "shop");
        only(&all)["podSelector"]["matchLabels"].clone()
    };
    assert_eq!(crowd("{app: api, tier: front}"), json!({"app": "api", "tier": "back"}));
    assert_eq!(crowd("{app: api, tier: back}"), many);
}

#[test]
fn a_policy_that_is_there_keeps_its_name_unless_it_is_for_the_same_pods() {
    let all = [seen(web(), db(), TCP, 5432)];
    let name = |selector: &str| {
        let policy =
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}";
        let world = world(&format!("{policy}\nspec: {{podSelector: {selector}}}"));
        specs(&suggest(&world, &all, "shop"))[1].0.clone()
    };
    assert_eq!((name("{}"), name("{matchLabels: {app: web}}")), ("web-seen".into(), "web".into()));
    let job = pod(
        "shop/backup-29012345-abcde",
        "10.244.1.40",
        json!({"owner": "me", "job-name": "backup-29012345"}),
        ["Job", "backup-29012345"],
    );
    let suggestion = suggest(&world(""), &[seen(job, outside("203.0.113.7"), TCP, 22)], "shop");
    assert_eq!(specs(&suggestion)[0].0, "backup");
}

#[test]
fn what_rules_cannot_say_is_said_in_notes() {
    let bare = pod("shop/bare", "10.244.1.50", json!({"pod-template-hash": "x"}), ["", ""]);
    let all = [seen(bare, db(), TCP, 5432), seen(web(), db(), ICMP, 0)];
    let suggestion = suggest(&world(""), &all, "shop");
    let specs = specs(&suggestion);
    assert_eq!(
        specs[0].1["ingress"],
        json!([
            {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]},
            {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 5432}]},
        ])
    );
    let notes = suggestion.notes.join("\n");
    for expected in [
        "no policy for pod shop/bare: it has no label",
        "db: ingress with pods app=web is allowed on every port",
        "web: egress with pods app=db is allowed on every port",
        "db: ingress with all pods of a namespace, because shop/bare has no label that lasts",
    ] {
        assert!(notes.contains(expected), "{expected}:\n{notes}");
    }
}

#[test]
fn names_of_ports_are_used_only_where_all_pods_agree() {
    let all = [seen(outside("203.0.113.7"), web(), TCP, 8080)];
    let another = "apiVersion: v1\nkind: Pod\nmetadata: {name: web-9, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8081}]}]}";
    let port =
        |more: &str| only(&suggest(&world(more), &all, "shop"))["ingress"][0]["ports"][0]["port"].clone();
    assert_eq!((port(""), port(another)), (json!("http"), json!(8080)));
}
