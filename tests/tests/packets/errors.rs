use netpol_agent::dataplane::{Op, kernel::Switch};
use netpol_common::{
    config,
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    policy::SlotId,
    reason::DropReason::{Policy, Spoofed},
};
use netpol_tests::packet::{
    Hook::{FromPod, ToPod},
    SYN,
    Verdict::{HandOver, Pass},
    World, open, packet_too_big, tcp, udp, unreachable,
};

use crate::table::{
    Expect::{Drop, Known, Opens, OpensTranslated, Translated},
    in_both_families, row, send_all,
};

fn closed() -> EndpointRow {
    let flags = open().flags | flags::ISOLATED_IN | flags::ISOLATED_OUT;
    EndpointRow { slot_in: SlotId(1), slot_out: SlotId(2), flags, ..open() }
}

#[test]
fn an_error_about_a_known_connection_passes_and_another_is_judged() {
    in_both_families(|lab, w| {
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        let (a, remote) = (World::at(w.a, 1), World::at(w.remote, 2));
        let sent = tcp(a, remote, SYN, b"");
        send_all(lab, vec![row("opens", FromPod(if_a), sent.clone(), Opens(Pass))])?;
        // From here on policy would let nothing new in or out.
        lab.write([Op::PutEndpoint(if_a, closed())])?;
        let never_sent = tcp(World::at(w.a, 9), remote, SYN, b"");
        let too_big = |quoted: &[u8]| packet_too_big(w.stranger, w.a, 1280, quoted);
        send_all(
            lab,
            vec![
                row("from a router", ToPod(if_a, uplink), too_big(&sent), Known(Pass)),
                row(
                    "from the other end",
                    ToPod(if_a, uplink),
                    unreachable(w.remote, w.a, &sent),
                    Known(Pass),
                ),
                row("about nothing", ToPod(if_a, uplink), too_big(&never_sent), Drop(Policy, Ingress)),
                row("at another pod", ToPod(if_b, uplink), too_big(&sent), Opens(Pass)),
                row(
                    "made up by another pod",
                    FromPod(if_b),
                    unreachable(w.remote, w.a, &sent),
                    Drop(Spoofed, Egress),
                ),
            ],
        )
    });
}

#[test]
fn errors_about_translated_packets_are_translated() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 1), World::at(w.b, 8080), World::at(w.service, 80));
        let (asked, delivered) = (udp(a, vip, b"q"), udp(a, b, b"q"));
        let (answered, received) = (udp(b, a, b"r"), udp(vip, a, b"r"));
        send_all(
            lab,
            vec![
                row("question", FromPod(if_a), asked.clone(), OpensTranslated(HandOver, delivered.clone())),
                row("answer", FromPod(if_b), answered.clone(), Translated(HandOver, received.clone())),
            ],
        )?;
        for (name, hook, packet, expected) in [
            (
                "the backend reports",
                FromPod(if_b),
                unreachable(w.b, w.a, &delivered),
                unreachable(w.service, w.a, &asked),
            ),
            (
                "the client reports",
                FromPod(if_a),
                unreachable(w.a, w.service, &received),
                unreachable(w.a, w.b, &answered),
            ),
        ] {
            let seen = lab.send(hook, &packet)?;
            assert_eq!(seen.verdict, HandOver, "{name}: {:?}", seen.counted);
            same_but_for_quoted_checksum(name, &seen.packet, &expected);
        }
        lab.maps.set_flags(config::flags::FAST_PATH, Switch::Off);
        for (name, hook, packet, expected) in [
            (
                "unchanged at the backend",
                FromPod(if_b),
                unreachable(w.b, w.a, &delivered),
                unreachable(w.b, w.a, &delivered),
            ),
            (
                "at the client",
                ToPod(if_a, if_b),
                unreachable(w.b, w.a, &delivered),
                unreachable(w.service, w.a, &asked),
            ),
            (
                "of a router",
                ToPod(if_a, lab.uplink),
                packet_too_big(w.stranger, w.a, 1280, &delivered),
                packet_too_big(w.stranger, w.a, 1280, &asked),
            ),
        ] {
            let seen = lab.send(hook, &packet)?;
            assert_eq!(seen.verdict, Pass, "{name}: {:?}", seen.counted);
            same_but_for_quoted_checksum(name, &seen.packet, &expected);
        }
        Ok(())
    });
}

/// The quoted UDP checksum is left as it was; everything else, the ICMP checksum over it included, must be right.
pub(crate) fn same_but_for_quoted_checksum(name: &str, seen: &[u8], expected: &[u8]) {
    netpol_tests::packet::verify(seen).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    let (icmp, quoted_udp) = if seen[12..14] == [8, 0] { (34, 62) } else { (54, 102) };
    let blank = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        packet[icmp + 2..icmp + 4].fill(0);
        packet[quoted_udp + 6..quoted_udp + 8].fill(0);
        packet
    };
    assert_eq!(blank(seen), blank(expected), "{name}");
}
