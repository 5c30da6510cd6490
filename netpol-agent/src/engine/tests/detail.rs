use netpol_common::{direction::Direction, net::proto};

use super::{Bed, pod, policy};
use crate::{
    engine::{Other, Refused, view::RuleRef},
    model::{Labels, Name},
};

const DB: &str = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: backend}}}], \
                  ports: [{port: sql}]}, {from: [{ipBlock: {cidr: 10.9.0.0/16, except: [10.9.1.0/24]}}, {namespaceSelector: \
                  {}, podSelector: {matchLabels: {app: monitor}}}], ports: [{port: 9090, endPort: 9099}]}], \
                  egress: [{to: [{podSelector: {}}], ports: [{port: web}]}]}";

fn bed(spec: &str) -> Bed {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]);
    let sql = "ports: [{name: sql, containerPort: 5432}]";
    bed.apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], sql));
    let web = "ports: [{name: web, containerPort: 8080}]";
    bed.apply(&pod("shop/web", "node2", "{app: web, x: y}", &["10.0.1.1"], web));
    bed.apply(&policy("shop/p", spec));
    bed
}

fn labels(app: &str) -> Labels {
    Labels::new([("app".to_owned(), app.to_owned()), ("x".to_owned(), "y".to_owned())].into())
}

fn nearest(bed: &Bed, direction: Direction, pod: Option<(&str, &str, &str)>, port: u16) -> Option<String> {
    let labels = labels(pod.map_or("", |(.., app)| app));
    let policies = [Name::new("shop", "p")];
    bed.engine.nearest(&Refused {
        direction,
        policies: &policies,
        subject: Some(&Name::new("shop", "db")),
        other: Other {
            address: "10.9.1.7".parse().unwrap(),
            pod: pod.map(|(namespace, name, _)| (namespace, name, &labels)),
        },
        proto: proto::TCP,
        port,
    })
}

#[test]
fn the_nearest_miss_says_what_would_have_been_allowed_and_what_is_not_it() {
    let bed = bed(DB);
    let ingress = |pod, port| nearest(&bed, Direction::Ingress, pod, port).unwrap();
    // A port's name is the receiver's number.
    assert_eq!(
        ingress(Some(("shop", "web", "frontend")), 5432),
        "shop/p spec.ingress[0]: TCP sql is allowed from app=backend; app=frontend is not it"
    );
    // The right peer is nearer than the right port.
    assert_eq!(
        ingress(Some(("shop", "web", "monitor")), 5432),
        "shop/p spec.ingress[1]: TCP 9090-9099 is allowed from 10.9.0.0/16 without 10.9.1.0/24 or app=monitor in any \
         namespace; TCP 5432 is not it"
    );
    assert_eq!(
        ingress(Some(("ops", "tool", "backend")), 5432),
        "shop/p spec.ingress[0]: TCP sql is allowed from app=backend; app=backend in namespace ops is not it"
    );
    assert_eq!(
        ingress(None, 1),
        "shop/p spec.ingress[0]: TCP sql is allowed from app=backend; TCP 1 is not it, nor is 10.9.1.7"
    );
    // At egress the name is the other end's.
    assert_eq!(
        nearest(&bed, Direction::Egress, Some(("shop", "web", "web")), 9).unwrap(),
        "shop/p spec.egress[0]: TCP web is allowed to every pod; TCP 9 is not it"
    );
    assert_eq!(
        nearest(&bed, Direction::Egress, Some(("ops", "tool", "web")), 8080).unwrap(),
        "shop/p spec.egress[0]: TCP web is allowed to every pod; TCP 8080 is not it, nor is ops/tool"
    );
}

#[test]
fn without_rules_nothing_is_near() {
    let bed = bed("{podSelector: {}, policyTypes: [Ingress]}");
    assert_eq!(nearest(&bed, Direction::Ingress, None, 80), None);
}

#[test]
fn the_peer_that_matched_is_told_only_if_its_place_is_certain() {
    let rule = |index, generation| RuleRef {
        policy: Name::new("shop", "p"),
        generation,
        direction: Direction::Ingress,
        index,
        path: format!("spec.ingress[{index}]"),
    };
    let peer = |spec: &str, index, generation, app: &str| {
        let labels = labels(app);
        let other = Other { address: "10.9.2.7".parse().unwrap(), pod: Some(("ops", "tool", &labels)) };
        bed(spec).engine.peer_of(&rule(index, generation), other)
    };
    let generation = bed(DB).engine.attribution().generation(&Name::new("shop", "p"));
    assert_eq!(peer(DB, 1, generation, "monitor").as_deref(), Some("spec.ingress[1].from[0]"));
    assert_eq!(peer(DB, 0, generation, "monitor"), None);
    assert_eq!(peer(DB, 1, generation + 1, "monitor"), None);
    let broken = "{podSelector: {}, ingress: [{from: [{}, {ipBlock: {cidr: 10.9.0.0/16}}]}, {from: [{ipBlock: {cidr: \
                  10.9.0.0/16}}]}]}";
    assert_eq!(peer(broken, 0, generation, ""), None);
    assert_eq!(peer(broken, 1, generation, "").as_deref(), Some("spec.ingress[1].from[0]"));
    assert_eq!(peer("{podSelector: {}, ingress: [{}]}", 0, generation, ""), None);
}
