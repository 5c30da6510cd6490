use super::*;
use crate::{
    flow::{Verdict as Ours, tests_support::sample},
    hubble::{
        identity,
        messages::{EventTypeFilter, Experimental, NetworkInterface, TrafficDirection},
    },
    model::Name,
};

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn wants(filter: FlowFilter, record: &FlowRecord) -> bool {
    Asked::new(&[filter], &[]).unwrap().wants(record)
}

/// A drop that went through a Service.
fn record() -> FlowRecord {
    let mut record = sample();
    record.translated = record.destination.clone();
    let destination = record.destination.as_mut().unwrap();
    *destination = PartyRecord::unknown("10.96.0.9".parse().unwrap(), 80);
    destination.service = Some(Name::new("shop", "db"));
    record
}

type Case = (FlowFilter, bool);

fn with(change: impl FnOnce(&mut FlowFilter)) -> FlowFilter {
    let mut filter = FlowFilter::default();
    change(&mut filter);
    filter
}

#[test]
fn each_field_of_an_end_is_looked_at() {
    let record = record();
    let identity = identity::of(record.source.as_ref().unwrap(), &record.node);
    let cases: Vec<Case> = vec![
        (with(|f| f.source_ip = texts(&["10.244.1.13"])), true),
        (with(|f| f.source_ip = texts(&["10.244.0.0/16"])), true),
        (with(|f| f.source_ip = texts(&["10.244.1.14", "fd00::/8"])), false),
        // The backend, not the Service.
        (with(|f| f.destination_ip = texts(&["10.244.1.20"])), true),
        (with(|f| f.destination_ip = texts(&["10.96.0.9"])), false),
        (with(|f| f.source_pod = texts(&["shop/front"])), true),
        (with(|f| f.source_pod = texts(&["shop/"])), true),
        (with(|f| f.source_pod = texts(&["/front"])), true),
        (with(|f| f.source_pod = texts(&["frontend"])), false),
        (with(|f| f.destination_pod = texts(&["other/db", "shop/db"])), true),
        (with(|f| f.destination_pod = texts(&["shop/frontend"])), false),
        (with(|f| f.source_label = texts(&["app=frontend"])), true),
        (with(|f| f.source_label = texts(&["k8s:app in (frontend, x)"])), true),
        (with(|f| f.source_label = texts(&["app=frontend,tier=web"])), false),
        (with(|f| f.destination_label = texts(&["io.kubernetes.pod.namespace=shop"])), true),
        (with(|f| f.destination_label = texts(&["reserved:world"])), false),
        (with(|f| f.destination_port = texts(&["5432"])), true),
        (with(|f| f.destination_port = texts(&["5000-6000"])), true),
        (with(|f| f.destination_port = texts(&["80"])), false),
        (with(|f| f.source_port = texts(&["43122"])), true),
        (with(|f| f.destination_service = texts(&["shop/db"])), true),
        (with(|f| f.destination_service = texts(&["shop/web"])), false),
        (with(|f| f.source_service = texts(&["shop/db"])), false),
        (with(|f| f.source_identity = vec![identity]), true),
        (with(|f| f.source_identity = vec![2]), false),
    ];
    for (filter, expected) in cases {
        assert_eq!(wants(filter.clone(), &record), expected, "{filter:?}");
    }
}

#[test]
fn each_field_of_packet_and_verdict_is_looked_at() {
    let record = record();
    let event = |kind, sub| EventTypeFilter { r#type: kind, match_sub_type: sub != 0, sub_type: sub };
    let syn = |ack| TcpFlags { syn: true, ack, ..TcpFlags::default() };
    let interface = |index| NetworkInterface { index, name: String::new() };
    let cases: Vec<Case> = vec![
        (with(|f| f.verdict = vec![Verdict::Dropped.into()]), true),
        (with(|f| f.verdict = vec![Verdict::Forwarded.into(), Verdict::Audit.into()]), false),
        (with(|f| f.traffic_direction = vec![TrafficDirection::Ingress.into()]), true),
        (with(|f| f.traffic_direction = vec![TrafficDirection::Egress.into()]), false),
        (with(|f| f.drop_reason_desc = vec![133]), true),
        (with(|f| f.drop_reason_desc = vec![181]), false),
        (with(|f| f.event_type = vec![event(1, 0)]), true),
        (with(|f| f.event_type = vec![event(1, 133)]), true),
        (with(|f| f.event_type = vec![event(1, 132)]), false),
        (with(|f| f.event_type = vec![event(5, 0)]), true),
        (with(|f| f.event_type = vec![event(4, 0), event(129, 0)]), false),
        (with(|f| f.reply = vec![false]), true),
        (with(|f| f.reply = vec![true]), false),
        (with(|f| f.protocol = texts(&["tcp"])), true),
        (with(|f| f.protocol = texts(&["UDP", "icmp", "http"])), false),
        (with(|f| f.tcp_flags = vec![syn(false)]), true),
        (with(|f| f.tcp_flags = vec![syn(true)]), false),
        (with(|f| f.ip_version = vec![1]), true),
        (with(|f| f.ip_version = vec![2]), false),
        (with(|f| f.interface = vec![interface(11)]), true),
        (with(|f| f.interface = vec![interface(12)]), false),
        (with(|f| f.node_name = texts(&["node-*"])), true),
        (with(|f| f.node_name = texts(&["default/node-1"])), true),
        (with(|f| f.node_name = texts(&["*/*-1"])), true),
        (with(|f| f.node_name = texts(&["other/node-1", "node-2*"])), false),
        (with(|f| f.http_method = texts(&["GET"])), false),
        (with(|f| f.uuid = vec![map::uuid(&record)]), true),
        (with(|f| f.uuid = texts(&["x"])), false),
        (with(|f| f.encrypted = vec![true]), false),
    ];
    for (filter, expected) in cases {
        assert_eq!(wants(filter.clone(), &record), expected, "{filter:?}");
    }
}

#[test]
fn fields_are_anded_filters_are_ored_and_the_blacklist_takes_away() {
    let record = record();
    let verdict = with(|f| f.verdict = vec![Verdict::Dropped.into()]);
    let both = with(|f| {
        f.verdict = vec![Verdict::Dropped.into()];
        f.source_pod = texts(&["shop/nobody"]);
    });
    let asked = |white: &[&FlowFilter], black: &[&FlowFilter]| {
        let list = |list: &[&FlowFilter]| list.iter().map(|f| (*f).clone()).collect::<Vec<_>>();
        Asked::new(&list(white), &list(black)).unwrap().wants(&record)
    };
    assert!(asked(&[], &[]) && asked(&[&verdict], &[]) && asked(&[&both, &verdict], &[&both]));
    assert!(!asked(&[&both], &[]) && !asked(&[], &[&both, &verdict]) && !asked(&[&verdict], &[&verdict]));
}

#[test]
fn a_span_of_time_has_both_its_ends() {
    let record = record();
    let at = SystemTime::from(record.time);
    let before = at - std::time::Duration::from_millis(1);
    let within = |since, until| Asked::new(&[], &[]).unwrap().within(since, until).unwrap().wants(&record);
    assert!(within(Some(at), Some(at)) && within(None, None) && within(Some(before), None));
    assert!(!within(None, Some(before)) && !within(Some(at + std::time::Duration::from_millis(1)), None));
}

#[test]
fn connections_are_asked_of_the_kernel_only_if_they_may_be_wanted() {
    let forwarded = |filters: &[FlowFilter]| Asked::new(filters, &[]).unwrap().wants_forwarded();
    let dropped = with(|f| f.verdict = vec![Verdict::Dropped.into()]);
    assert!(forwarded(&[]) && forwarded(&[dropped.clone(), FlowFilter::default()]));
    assert!(!forwarded(std::slice::from_ref(&dropped)));
    assert!(!forwarded(&[with(|f| f.drop_reason_desc = vec![133])]));
    let record = FlowRecord { verdict: Ours::Forwarded, reason: None, ..record() };
    assert!(!wants(dropped, &record));
}

#[test]
fn what_means_nothing_is_refused_by_name() {
    let refused = |filter: FlowFilter| Asked::new(&[filter], &[]).err().map(|error| error.field);
    assert_eq!(refused(with(|f| f.source_ip = texts(&["10.0.0"]))), Some("source_ip"));
    assert_eq!(refused(with(|f| f.destination_port = texts(&["http"]))), Some("destination_port"));
    assert_eq!(refused(with(|f| f.source_pod = texts(&["/"]))), Some("source_pod"));
    assert_eq!(refused(with(|f| f.source_label = texts(&["a in b"]))), Some("source_label"));
    assert_eq!(refused(with(|f| f.protocol = texts(&["tpc"]))), Some("protocol"));
    let cel = Experimental { cel_expression: texts(&["true"]) };
    assert_eq!(refused(with(|f| f.experimental = Some(cel))), Some("cel_expression"));
}

#[test]
fn a_moment_that_no_record_can_have_is_refused() {
    use std::time::Duration;
    let never = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    let asked = || Asked::new(&[], &[]).unwrap();
    assert_eq!(asked().within(Some(never), None).err().unwrap().field, "since");
    assert_eq!(asked().within(None, Some(never)).err().unwrap().field, "until");
    assert!(asked().within(Some(SystemTime::UNIX_EPOCH), None).unwrap().wants(&record()));
}
