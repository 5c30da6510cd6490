use std::time::Duration;

use netpol_common::{
    conntrack::{CtKey4, CtKey6},
    net::Be16,
    policy::RuleId,
};

use super::*;
use crate::{engine::Attribution, flow::Verdict};

fn told(life: &Life) -> FlowRecord {
    let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
    live(life, Span { opened: Some(at(100)), seen: at(160) }, &"n1".into(), &Attribution::default())
}

fn entry() -> CtEntry {
    CtEntry {
        packets: [5, 4],
        bytes: [500, 4000],
        rule_egress: RuleId::NOT_ISOLATED,
        rule_ingress: RuleId::ELSEWHERE,
        if_orig: 7,
        ..CtEntry::default()
    }
}

#[test]
fn a_connection_to_a_service_that_has_ended_tells_of_both_its_ends_and_what_went_over_it() {
    let opened = Tuple {
        src: V4::from(Ipv4Addr::new(10, 0, 0, 9)),
        dst: V4::from(Ipv4Addr::new(10, 0, 0, 1)),
        sport: Be16::from_host(40_000),
        dport: Be16::from_host(80),
        proto: proto::TCP,
    };
    let backend = V4::from(Ipv4Addr::new(10, 1, 0, 2));
    let entry = CtEntry {
        // From the higher address to the lower one.
        flags: flags::FROM_HIGH | flags::FRONT | flags::FIN_ORIG | flags::FIN_REPLY,
        nat_addr: backend.to_words(),
        nat_port: Be16::from_host(8080),
        ..entry()
    };
    let record = told(&Life { key: ConnectionKey::V4(CtKey4::of(&opened)), entry, ended: true });
    assert_eq!(
        (record.kind, record.verdict, &*record.direction),
        (Kind::Closed, Verdict::Forwarded, "egress")
    );
    assert_eq!(record.source.unwrap().to_string(), "10.0.0.9:40000");
    assert_eq!(record.destination.unwrap().to_string(), "10.0.0.1:80");
    assert_eq!(record.translated.unwrap().to_string(), "10.1.0.2:8080");
    assert_eq!((&*record.tcp_flags, record.length, record.interface), ("FIN", 4500, 7));
    assert_eq!(record.first.unwrap().as_second(), 100);
    assert_eq!(record.time.as_second(), 160);
    let traffic = Traffic { packets_sent: 5, packets_received: 4, bytes_sent: 500, bytes_received: 4000 };
    assert_eq!(record.traffic, Some(traffic));
    assert_eq!((&*record.egress, &*record.ingress), ("not-isolated", "elsewhere"));
}

#[test]
fn one_that_goes_on_is_not_translated_where_nothing_was() {
    let opened = Tuple {
        src: V6::from("fd00::1".parse::<Ipv6Addr>().unwrap()),
        dst: V6::from("fd00::2".parse::<Ipv6Addr>().unwrap()),
        sport: Be16::from_host(5),
        dport: Be16::from_host(53),
        proto: proto::UDP,
    };
    let entry = CtEntry { if_reply: 8, ..entry() };
    let record = told(&Life { key: ConnectionKey::V6(CtKey6::of(&opened)), entry, ended: false });
    assert_eq!((record.kind, &*record.direction, &*record.protocol), (Kind::Heartbeat, "ingress", "UDP"));
    assert_eq!(record.source.unwrap().to_string(), "[fd00::1]:5");
    assert_eq!((record.translated, record.tcp_flags), (None, String::new()));
}
