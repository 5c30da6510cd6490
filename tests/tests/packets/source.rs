//! Connections to a Service whose backend sees another source than the client's own.

use std::{net::SocketAddr, ops::RangeInclusive};

use netpol_agent::dataplane::{Op, kernel::Switch};
use netpol_common::{
    config,
    endpoint::{EndpointRow, flags},
    policy::SlotId,
};
use netpol_tests::packet::{
    FIN_ACK,
    Hook::{FromPod, ToPod},
    Lab, PSH_ACK, RST, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, open, tcp, udp, unreachable, verify,
};

use crate::{
    errors::same_but_for_quoted_checksum,
    table::{
        Expect::{Known, Opens, OpensTranslated, Translated},
        in_both_families, row, send_all,
    },
};

/// The ports that are given out instead of a client's own.
const SOURCES: RangeInclusive<u16> = 61_000..=65_535;

/// The source port of a packet without options.
fn source_port(packet: &[u8]) -> u16 {
    let at = if packet[12..14] == [8, 0] { 34 } else { 54 };
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// Sends what must leave with a source port that was given out; the packet's sender as the backend sees it.
pub(crate) fn sent_from_elsewhere(
    lab: &mut Lab,
    from: (SocketAddr, u32),
    packet: &[u8],
) -> anyhow::Result<SocketAddr> {
    let seen = lab.send(FromPod(from.1), packet)?;
    assert!([HandOver, Pass].contains(&seen.verdict), "{:?}, {:?}", seen.verdict, seen.counted);
    verify(&seen.packet)?;
    let port = source_port(&seen.packet);
    assert!(SOURCES.contains(&port), "source port {port}");
    Ok(World::at(from.0.ip(), port))
}

#[test]
fn a_pod_reaches_itself_through_its_service_whatever_policy_says() {
    in_both_families(|lab, w| {
        let if_b = lab.pods[1];
        let isolated = flags::ISOLATED_IN | flags::ISOLATED_OUT;
        let nothing = EndpointRow { slot_in: SlotId(1), slot_out: SlotId(2), ..open() };
        lab.write([Op::PutEndpoint(if_b, EndpointRow { flags: nothing.flags | isolated, ..nothing })])?;
        let (b, vip) = (World::at(w.b, 40_000), World::at(w.service, 80));
        let (served, as_client) = (World::at(w.b, 8080), World::at(w.service, 40_000));
        let (asked, delivered) = (udp(b, vip, b"q"), udp(as_client, served, b"q"));
        for fast_path in [Switch::On, Switch::Off] {
            lab.maps.set_flags(config::flags::FAST_PATH, fast_path);
            lab.connections.clear()?;
            send_all(
                lab,
                vec![
                    row(
                        "SYN",
                        FromPod(if_b),
                        tcp(b, vip, SYN, b""),
                        OpensTranslated(HandOver, tcp(as_client, served, SYN, b"")),
                    ),
                    row(
                        "SYN ACK",
                        FromPod(if_b),
                        tcp(served, as_client, SYN_ACK, b""),
                        Translated(HandOver, tcp(vip, b, SYN_ACK, b"")),
                    ),
                    row(
                        "data",
                        FromPod(if_b),
                        tcp(b, vip, PSH_ACK, b"odd"),
                        Translated(HandOver, tcp(as_client, served, PSH_ACK, b"odd")),
                    ),
                    row(
                        "data back",
                        FromPod(if_b),
                        tcp(served, as_client, PSH_ACK, b"more"),
                        Translated(HandOver, tcp(vip, b, PSH_ACK, b"more")),
                    ),
                    row("UDP", FromPod(if_b), asked.clone(), OpensTranslated(HandOver, delivered.clone())),
                    row(
                        "UDP answer",
                        FromPod(if_b),
                        udp(served, as_client, b"a"),
                        Translated(HandOver, udp(vip, b, b"a")),
                    ),
                ],
            )?;
            let seen = lab.send(FromPod(if_b), &unreachable(w.b, w.service, &delivered))?;
            assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
            same_but_for_quoted_checksum("nobody there", &seen.packet, &unreachable(w.service, w.b, &asked));
        }
        Ok(())
    });
}

#[test]
fn two_connections_with_one_answer_tuple_both_live() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        send_all(lab, vec![row("direct", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver))])?;
        let elsewhere = sent_from_elsewhere(lab, (a, if_a), &tcp(a, vip, SYN, b""))?;
        send_all(
            lab,
            vec![
                row("direct goes on", FromPod(if_a), tcp(a, b, PSH_ACK, b"x"), Known(HandOver)),
                row("is answered", FromPod(if_b), tcp(b, a, SYN_ACK, b""), Known(HandOver)),
                row(
                    "the service answers",
                    FromPod(if_b),
                    tcp(b, elsewhere, SYN_ACK, b""),
                    Translated(HandOver, tcp(vip, a, SYN_ACK, b"")),
                ),
                row(
                    "data",
                    FromPod(if_a),
                    tcp(a, vip, PSH_ACK, b"odd"),
                    Translated(HandOver, tcp(elsewhere, b, PSH_ACK, b"odd")),
                ),
                row(
                    "the same SYN again",
                    FromPod(if_a),
                    tcp(a, vip, SYN, b""),
                    Translated(HandOver, tcp(elsewhere, b, SYN, b"")),
                ),
            ],
        )?;
        let third = sent_from_elsewhere(lab, (elsewhere, if_a), &tcp(elsewhere, b, SYN, b""))?;
        send_all(
            lab,
            vec![row(
                "directly from the port that was given out, and back",
                FromPod(if_b),
                tcp(b, third, SYN_ACK, b""),
                Translated(HandOver, tcp(b, elsewhere, SYN_ACK, b"")),
            )],
        )?;
        // Judged again, they are what they were.
        lab.write([Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row(
                    "answer in another epoch",
                    FromPod(if_b),
                    tcp(b, elsewhere, FIN_ACK, b""),
                    Translated(HandOver, tcp(vip, a, FIN_ACK, b"")),
                ),
                row(
                    "request in another epoch",
                    FromPod(if_a),
                    tcp(a, vip, FIN_ACK, b""),
                    Translated(HandOver, tcp(elsewhere, b, FIN_ACK, b"")),
                ),
            ],
        )
    });
}

#[test]
fn a_port_is_free_for_the_backend_once_its_connection_through_the_service_is_over() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (b, vip) = (World::at(w.b, 8080), World::at(w.service, 80));
        for (port, ends) in [(41_000, false), (41_001, true)] {
            let a = World::at(w.a, port);
            let opened = OpensTranslated(HandOver, tcp(a, b, SYN, b""));
            send_all(lab, vec![row("through the service", FromPod(if_a), tcp(a, vip, SYN, b""), opened)])?;
            let said = if ends {
                vec![
                    row(
                        "the client ends it",
                        FromPod(if_a),
                        tcp(a, vip, FIN_ACK, b""),
                        Translated(HandOver, tcp(a, b, FIN_ACK, b"")),
                    ),
                    row(
                        "the backend ends it",
                        FromPod(if_b),
                        tcp(b, a, FIN_ACK, b""),
                        Translated(HandOver, tcp(vip, a, FIN_ACK, b"")),
                    ),
                ]
            } else {
                vec![row(
                    "the client breaks it off",
                    FromPod(if_a),
                    tcp(a, vip, RST, b""),
                    Translated(HandOver, tcp(a, b, RST, b"")),
                )]
            };
            send_all(lab, said)?;
            send_all(
                lab,
                vec![
                    row("directly", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver)),
                    row("answered as it is", FromPod(if_b), tcp(b, a, SYN_ACK, b""), Known(HandOver)),
                ],
            )?;
        }
        Ok(())
    });
}

#[test]
fn without_the_fast_path_the_client_gets_its_own_port_back() {
    in_both_families(|lab, w| {
        lab.maps.set_flags(config::flags::FAST_PATH, Switch::Off);
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        send_all(lab, vec![row("direct", FromPod(if_a), udp(a, b, b"x"), Opens(Pass))])?;
        let elsewhere = sent_from_elsewhere(lab, (a, if_a), &udp(a, vip, b"q"))?;
        send_all(
            lab,
            vec![
                row("reaches the backend", ToPod(if_b, if_a), udp(elsewhere, b, b"q"), Known(Pass)),
                row("leaves it", FromPod(if_b), udp(b, elsewhere, b"r"), Known(Pass)),
                row(
                    "reaches the client",
                    ToPod(if_a, if_b),
                    udp(b, elsewhere, b"r"),
                    Translated(Pass, udp(vip, a, b"r")),
                ),
            ],
        )?;
        let reported = lab.send(ToPod(if_a, if_b), &unreachable(w.b, w.a, &udp(elsewhere, b, b"q")))?;
        assert_eq!(reported.verdict, Pass, "{:?}", reported.counted);
        let expected = unreachable(w.service, w.a, &udp(a, vip, b"q"));
        same_but_for_quoted_checksum("at the client", &reported.packet, &expected);
        Ok(())
    });
}
