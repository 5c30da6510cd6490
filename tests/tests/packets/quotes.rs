//! What ICMP errors quote: RFC 792, RFC 1122 §3.2.2, RFC 4443 §2.4.

use std::net::IpAddr;

use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    policy::SlotId,
    reason::DropReason::Policy,
};
use netpol_tests::packet::{
    Extension, Fragment,
    Hook::{FromPod, ToPod},
    SYN,
    Verdict::Pass,
    World, echo_request, extended, fragment, icmp_error, open, other, packet_too_big, sctp, tcp, udp,
    unreachable, with_ipv4_options,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

fn closed() -> EndpointRow {
    let flags = open().flags | flags::ISOLATED_IN | flags::ISOLATED_OUT;
    EndpointRow { slot_in: SlotId(1), slot_out: SlotId(2), flags, ..open() }
}

/// One packet of each protocol that can be quoted.
fn one_of_each(w: World, src: IpAddr, dst: IpAddr) -> Vec<(&'static str, Vec<u8>)> {
    let (from, to) = (World::at(src, 7), World::at(dst, 8));
    // Neighbour discovery aside, ICMP that is no echo has neither identifier nor ports.
    let timestamp = other(src, dst, if w.a.is_ipv4() { 1 } else { 58 }, &[200, 0, 0, 0, 1, 2, 3, 4]);
    vec![
        ("TCP", tcp(from, to, SYN, b"")),
        ("UDP", udp(from, to, b"")),
        ("SCTP", sctp(from, to)),
        ("echo", echo_request(src, dst, 9)),
        ("other ICMP", timestamp),
        ("GRE", other(src, dst, 47, &[1, 2, 3, 4, 5, 6, 7, 8])),
    ]
}

/// The packet as it may be quoted: with more between network and transport header.
fn lengthened(packet: &[u8]) -> Vec<u8> {
    if packet[12..14] == [8, 0] {
        with_ipv4_options(packet, &[1; 8])
    } else {
        extended(packet, &[Extension { number: 60, len: 24 }])
    }
}

/// The ICMP packet cut to `len` bytes of what it quotes.
fn cut(packet: &[u8], len: usize) -> Vec<u8> {
    let (l4, field) = if packet[12..14] == [8, 0] { (34, 16) } else { (54, 18) };
    let mut packet = packet[..l4 + 8 + len].to_vec();
    let counted = if l4 == 34 { packet.len() - 14 } else { packet.len() - 54 };
    packet[field..field + 2].copy_from_slice(&u16::try_from(counted).expect("short").to_be_bytes());
    packet
}

#[test]
fn whatever_a_pod_sent_can_be_reported_to_it() {
    in_both_families(|lab, w| {
        let (if_a, uplink) = (lab.pods[0], lab.uplink);
        let sent = one_of_each(w, w.a, w.remote);
        for (name, packet) in &sent {
            send_all(lab, vec![row(name, FromPod(if_a), packet.clone(), Opens(Pass))])?;
        }
        lab.write([Op::PutEndpoint(if_a, closed())])?;
        let header = if w.a.is_ipv4() { 20 } else { 40 };
        for (name, packet) in &sent {
            let report = |quoted: &[u8]| packet_too_big(w.stranger, w.a, 1280, quoted);
            let first = fragment(packet, Fragment::First, 5);
            let later = fragment(packet, Fragment::Later, 5);
            send_all(
                lab,
                vec![
                    row(name, ToPod(if_a, uplink), report(packet), Known(Pass)),
                    row(name, ToPod(if_a, uplink), report(&lengthened(packet)), Known(Pass)),
                    row(name, ToPod(if_a, uplink), cut(&report(packet), header + 8), Known(Pass)),
                    row(name, ToPod(if_a, uplink), report(&first), Known(Pass)),
                    row(name, ToPod(if_a, uplink), report(&later), Drop(Policy, Ingress)),
                    row(name, ToPod(if_a, uplink), cut(&report(packet), header - 1), Drop(Policy, Ingress)),
                ],
            )?;
            if *name != "GRE" {
                let short = cut(&report(packet), header + 7);
                send_all(lab, vec![row(name, ToPod(if_a, uplink), short, Drop(Policy, Ingress))])?;
            }
        }
        Ok(())
    });
}

#[test]
fn whatever_a_pod_received_can_be_reported_by_it() {
    in_both_families(|lab, w| {
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        let received = one_of_each(w, w.remote, w.a);
        for (name, packet) in &received {
            send_all(lab, vec![row(name, ToPod(if_a, uplink), packet.clone(), Opens(Pass))])?;
        }
        lab.write([Op::PutEndpoint(if_a, closed()), Op::PutEndpoint(if_b, closed())])?;
        for (name, packet) in &received {
            let never = one_of_each(w, w.remote, w.b);
            let other = never.iter().find(|(other, _)| other == name).map(|(_, packet)| packet.clone());
            let other = other.unwrap_or_default();
            send_all(
                lab,
                vec![
                    row(name, FromPod(if_a), unreachable(w.a, w.remote, packet), Known(Pass)),
                    row(name, FromPod(if_a), unreachable(w.a, w.remote, &lengthened(packet)), Known(Pass)),
                    row(name, FromPod(if_b), unreachable(w.b, w.remote, &other), Drop(Policy, Egress)),
                ],
            )?;
        }
        Ok(())
    });
}

#[test]
fn nobody_reports_on_reports() {
    in_both_families(|lab, w| {
        let (if_a, uplink) = (lab.pods[0], lab.uplink);
        let (kind, code) = if w.a.is_ipv4() { (3, 1) } else { (1, 3) };
        let lost = tcp(World::at(w.stranger, 1), World::at(w.a, 2), SYN, b"");
        // About no connection: judged as any packet, and let through.
        let report = icmp_error(w.a, w.remote, kind, code, [0; 4], &lost);
        send_all(lab, vec![row("a report", FromPod(if_a), report.clone(), Opens(Pass))])?;
        lab.write([Op::PutEndpoint(if_a, closed())])?;
        let about = icmp_error(w.stranger, w.a, kind, code, [0; 4], &report);
        send_all(lab, vec![row("about it", ToPod(if_a, uplink), about, Drop(Policy, Ingress))])
    });
}
