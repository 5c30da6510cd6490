use super::*;
use crate::{flow::tests_support::sample, model::Workload};

fn test(text: &str) -> Test {
    text.parse().unwrap()
}

fn record() -> FlowRecord {
    let mut record = sample();
    let destination = record.destination.as_mut().unwrap();
    destination.workload = Some(Workload { kind: "StatefulSet".into(), name: "db".into() }.into());
    destination.service = Some(Name::new("shop", "data"));
    record
}

#[test]
fn each_test_looks_at_its_field() {
    let record = record();
    for (yes, no) in [
        ("verdict=dropped", "verdict=forwarded"),
        ("pod=shop/frontend", "pod=shop/front"),
        ("from-pod=shop/frontend", "from-pod=shop/db-0"),
        ("to-pod=shop/db-0", "to-pod=shop/frontend"),
        ("namespace=shop", "namespace=sho"),
        ("label=app=db", "label=app in (x,y)"),
        ("label=app!=db", "label=!app"),
        ("workload=db", "workload=web"),
        ("workload=statefulset/db", "workload=Deployment/db"),
        ("service=shop/data", "service=shop/db"),
        ("port=5432", "port=80"),
        ("protocol=tcp", "protocol=udp"),
        ("reason=policy", "reason=pending"),
        ("policy=shop/db-ingress", "policy=shop/other"),
        ("direction=ingress", "direction=egress"),
    ] {
        let only = |text: &str| Filter { only: vec![test(text)], ..Filter::default() };
        let not = |text: &str| Filter { not: vec![test(text)], ..Filter::default() };
        assert!(only(yes).wants(&record) && !not(yes).wants(&record), "{yes}");
        assert!(!only(no).wants(&record) && not(no).wants(&record), "{no}");
        let json = serde_json::to_string(&only(yes)).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), only(yes), "{json}");
    }
}

#[test]
fn tests_of_one_kind_are_alternatives_and_kinds_add_up() {
    let only = |texts: &[&str]| {
        let only = texts.iter().map(|text| test(text)).collect();
        Filter { only, ..Filter::default() }.wants(&record())
    };
    assert!(only(&["port=80", "port=5432", "namespace=shop"]));
    assert!(!only(&["port=80", "port=81", "namespace=shop"]));
    assert!(!only(&["port=5432", "namespace=ops"]));
}

#[test]
fn a_span_of_time_begins_with_its_moment() {
    let record = sample();
    let since = |time| Filter { since: Some(time), ..Filter::default() };
    let later = record.time.checked_add(std::time::Duration::from_millis(1)).unwrap();
    assert!(since(record.time).wants(&record) && !since(later).wants(&record));
}

#[test]
fn connections_are_asked_of_the_kernel_only_if_they_may_be_wanted() {
    let forwarded = |only: &[&str], not: &[&str]| {
        let tests = |texts: &[&str]| texts.iter().map(|text| test(text)).collect();
        Filter { only: tests(only), not: tests(not), since: None }.wants_forwarded()
    };
    assert!(forwarded(&[], &[]) && forwarded(&["verdict=dropped", "verdict=forwarded"], &["port=1"]));
    assert!(!forwarded(&["verdict=dropped"], &[]) && !forwarded(&["reason=policy"], &[]));
    assert!(!forwarded(&[], &["verdict=forwarded"]));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for wrong in [
        "x",
        "colour=red",
        "port=0",
        "port=http",
        "pod=web",
        "verdict=lost",
        "reason=why",
        "direction=up",
        "label=a,,b",
    ] {
        assert!(wrong.parse::<Test>().is_err(), "{wrong}");
    }
}
