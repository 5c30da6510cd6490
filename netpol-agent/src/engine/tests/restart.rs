//! A new agent on rows that another one wrote.

use std::collections::BTreeMap;

use super::{Bed, pod, policy};
use crate::{
    dataplane::{Dataplane, Frontend, Op, Rows},
    engine::Engine,
};

fn objects() -> String {
    pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], "")
        + &pod("shop/web", "node2", "{app: web}", &["10.0.1.1"], "")
        + &policy("shop/p", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}")
        + "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, \
           selector: {app: web}, ports: [{port: 80}]}}\n---\n"
}

fn running() -> Bed {
    let mut bed = Bed::new();
    bed.up(10, &["10.0.0.10"]).apply(&objects());
    bed
}

#[test]
fn a_restart_with_nothing_new_writes_nothing() {
    let mut bed = running();
    let rows = bed.fake.rows().clone();
    bed.restart();
    bed.engine.interface_up(super::interface(10, &["10.0.0.10"]));
    bed.feed(&objects());
    assert_eq!(bed.engine.plan().ops, []);
    bed.engine.synced();
    assert_eq!(bed.engine.plan().ops, []);
    assert_eq!(*bed.fake.rows(), rows);
}

#[test]
fn nothing_is_written_before_everything_is_known_but_interfaces_are_closed() {
    let mut bed = running();
    bed.restart();
    bed.feed(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.engine.interface_up(super::interface(10, &["10.0.0.10"]));
    assert_eq!(bed.engine.plan().ops, []);
    bed.engine.interface_gone(10);
    bed.engine.interface_gone(11);
    assert_eq!(bed.engine.plan().ops, [Op::BeginChange, Op::DeleteEndpoint(10)]);
    bed.settle();
    assert!(bed.fake.rows().endpoints.is_empty());
}

#[test]
fn what_went_while_nobody_looked_is_removed_after_the_sync() {
    let mut bed = running();
    bed.restart();
    bed.engine.interface_up(super::interface(10, &["10.0.0.10"]));
    bed.feed(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    bed.engine.synced();
    bed.settle();
    let mut fresh = Bed::new();
    fresh.up(10, &["10.0.0.10"]).apply(&pod("shop/db", "node1", "{app: db}", &["10.0.0.10"], ""));
    let (rows, wanted) = (super::normal_form(&bed.fake), super::normal_form(&fresh.fake));
    assert_eq!(rows, wanted);
}

#[test]
fn ranges_in_use_are_not_written_after_a_restart() {
    let mut bed = running();
    bed.restart();
    bed.engine.interface_up(super::interface(10, &["10.0.0.10"]));
    bed.feed(&objects());
    bed.engine.synced();
    // The fake refuses to write a range that a service names.
    bed.feed(&pod("shop/web2", "node2", "{app: web}", &["10.0.1.2"], ""));
    bed.settle();
    assert_eq!(bed.backends("10.96.0.1", 80, 6).expect("a service"), ["10.0.1.1:80", "10.0.1.2:80"]);
}

#[test]
fn an_operation_that_fails_is_done_again_and_nothing_else_is() {
    for n in 0..12 {
        let mut bed = running();
        bed.feed(&policy(
            "shop/p",
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: x}}}]}]}",
        ));
        bed.feed(&pod("shop/web2", "node2", "{app: web}", &["10.0.1.2"], ""));
        bed.fake.fail_after(n);
        let plan = bed.engine.plan();
        let done = plan.ops.iter().take_while(|op| {
            let result = Dataplane::apply(&mut bed.fake, op);
            result.is_ok_and(|()| {
                bed.engine.applied(op);
                true
            })
        });
        assert_eq!(done.count(), n.min(plan.ops.len()));
        bed.settle();
        let mut fresh = running();
        fresh.feed(&policy(
            "shop/p",
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: x}}}]}]}",
        ));
        fresh.feed(&pod("shop/web2", "node2", "{app: web}", &["10.0.1.2"], ""));
        fresh.settle();
        assert_eq!(super::normal_form(&bed.fake), super::normal_form(&fresh.fake), "stopped at {n}");
        assert!(bed.fake.epoch() > 1);
    }
}

fn service(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: {name}}}, spec: {{selector: {{app: web}}, {spec}}}}}\n---\n"
    )
}

fn numbers(bed: &Bed) -> BTreeMap<Frontend, u32> {
    bed.fake
        .rows()
        .frontends
        .iter()
        .filter(|(way, _)| way.proto != 0)
        .map(|(way, row)| (*way, row.svc))
        .collect()
}

#[test]
fn numbers_that_connections_of_another_version_know_stay_with_their_ports_or_are_nobodys() {
    let db = service("db", "clusterIP: 10.96.0.2, ports: [{port: 80}, {port: 81, name: b}]");
    let web = service("web", "clusterIP: 10.96.0.3, ports: [{port: 80}]");
    let gone = service("gone", "clusterIP: 10.96.0.4, ports: [{port: 80}]");
    let mut before = Bed::new();
    before.apply(&gone).apply(&web).apply(&db);
    let known = numbers(&before);
    assert_eq!(known.len(), 4);

    let mut after = Bed::new();
    let rows = Rows { given: known.clone(), ..Rows::default() };
    after.engine = Engine::new("node1", after.fake.capacity(), rows);
    let new = service("aaa", "clusterIP: 10.96.0.1, ports: [{port: 80}]");
    after.feed(&(db + &new + &web));
    after.engine.synced();
    after.settle();
    for (way, svc) in numbers(&after) {
        match known.get(&way) {
            Some(given) => assert_eq!(svc, *given, "{way:?}"),
            None => assert!(!known.values().any(|given| *given == svc), "{way:?} has the number of another"),
        }
    }
    after.apply(&service("later", "clusterIP: 10.96.0.5, ports: [{port: 80}]"));
    let all = numbers(&after);
    assert_eq!(
        (all.len(), all.values().filter(|svc| known.values().any(|given| given == *svc)).count()),
        (5, 3)
    );
}
