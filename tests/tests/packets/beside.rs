//! A client that speaks to a backend itself, from the port under which that one answers it as a Service.

use std::net::SocketAddr;

use netpol_agent::dataplane::{Op, kernel::Switch};
use netpol_common::{
    config,
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    policy::SlotId,
    reason::DropReason,
};
use netpol_tests::packet::{
    FIN_ACK,
    Hook::{FromPod, ToPod},
    Lab, PSH_ACK, RST, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, open, sctp, tcp, udp, unreachable,
};

use crate::{
    errors::same_but_for_quoted_checksum,
    source::sent_from_elsewhere,
    table::{
        Expect::{Drop, Known, Opens, OpensTranslated, Translated},
        in_both_families, row, send_all,
    },
};

/// A connection through the Service, answered.
fn through_the_service(lab: &mut Lab, a: SocketAddr, b: SocketAddr, vip: SocketAddr) -> anyhow::Result<()> {
    let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
    let opened = OpensTranslated(HandOver, tcp(a, b, SYN, b""));
    let answered = Translated(HandOver, tcp(vip, a, SYN_ACK, b""));
    send_all(
        lab,
        vec![
            row("through the service", FromPod(if_a), tcp(a, vip, SYN, b""), opened),
            row("and back", FromPod(if_b), tcp(b, a, SYN_ACK, b""), answered),
        ],
    )
}

#[test]
fn a_connection_to_the_backend_lives_beside_one_through_its_service() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        through_the_service(lab, a, b, vip)?;
        let seen_as = sent_from_elsewhere(lab, (a, if_a), &tcp(a, b, SYN, b""))?;
        let both = |epoch: &'static str| {
            vec![
                row(
                    epoch,
                    FromPod(if_a),
                    tcp(a, b, PSH_ACK, b"direct"),
                    Translated(HandOver, tcp(seen_as, b, PSH_ACK, b"direct")),
                ),
                row(
                    epoch,
                    FromPod(if_b),
                    tcp(b, seen_as, PSH_ACK, b"yes"),
                    Translated(HandOver, tcp(b, a, PSH_ACK, b"yes")),
                ),
                row(
                    epoch,
                    FromPod(if_a),
                    tcp(a, vip, PSH_ACK, b"service"),
                    Translated(HandOver, tcp(a, b, PSH_ACK, b"service")),
                ),
                row(
                    epoch,
                    FromPod(if_b),
                    tcp(b, a, PSH_ACK, b"yes"),
                    Translated(HandOver, tcp(vip, a, PSH_ACK, b"yes")),
                ),
            ]
        };
        let again = Translated(HandOver, tcp(seen_as, b, SYN, b""));
        send_all(lab, vec![row("the same SYN again", FromPod(if_a), tcp(a, b, SYN, b""), again)])?;
        send_all(lab, both("this epoch"))?;
        lab.write([Op::AdvanceEpoch])?;
        send_all(lab, both("another epoch"))?;
        // The end of one says nothing of the other.
        send_all(
            lab,
            vec![
                row(
                    "the service's is broken off",
                    FromPod(if_a),
                    tcp(a, vip, RST, b""),
                    Translated(HandOver, tcp(a, b, RST, b"")),
                ),
                row(
                    "the direct one goes on",
                    FromPod(if_a),
                    tcp(a, b, FIN_ACK, b""),
                    Translated(HandOver, tcp(seen_as, b, FIN_ACK, b"")),
                ),
                row(
                    "a SYN while one end is open",
                    FromPod(if_a),
                    tcp(a, b, SYN, b""),
                    Translated(HandOver, tcp(seen_as, b, SYN, b"")),
                ),
                row(
                    "and ends",
                    FromPod(if_b),
                    tcp(b, seen_as, FIN_ACK, b""),
                    Translated(HandOver, tcp(b, a, FIN_ACK, b"")),
                ),
                row("now the tuple is free", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver)),
                row("and answered as it is", FromPod(if_b), tcp(b, a, SYN_ACK, b""), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn another_one_follows_a_direct_connection_that_is_over() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        through_the_service(lab, a, b, vip)?;
        let first = sent_from_elsewhere(lab, (a, if_a), &tcp(a, b, SYN, b""))?;
        let broken = Translated(HandOver, tcp(b, a, RST, b""));
        send_all(lab, vec![row("refused", FromPod(if_b), tcp(b, first, RST, b""), broken)])?;
        let second = sent_from_elsewhere(lab, (a, if_a), &tcp(a, b, SYN, b""))?;
        send_all(
            lab,
            vec![
                row(
                    "answered",
                    FromPod(if_b),
                    tcp(b, second, SYN_ACK, b""),
                    Translated(HandOver, tcp(b, a, SYN_ACK, b"")),
                ),
                row(
                    "the service's is as it was",
                    FromPod(if_a),
                    tcp(a, vip, SYN, b""),
                    Translated(HandOver, tcp(a, b, SYN, b"")),
                ),
            ],
        )
    });
}

#[test]
fn policy_judges_it_as_any_connection_to_the_backend() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        through_the_service(lab, a, b, vip)?;
        let isolated = |slot_in| EndpointRow { slot_in, flags: open().flags | flags::ISOLATED_IN, ..open() };
        lab.write([Op::PutEndpoint(if_b, isolated(SlotId(1))), Op::AdvanceEpoch])?;
        let denied = || Drop(DropReason::Policy, Ingress);
        send_all(lab, vec![row("denied", FromPod(if_a), tcp(a, b, SYN, b""), denied())])?;
        lab.write([Op::PutEndpoint(if_b, open()), Op::AdvanceEpoch])?;
        let seen_as = sent_from_elsewhere(lab, (a, if_a), &tcp(a, b, SYN, b""))?;
        lab.write([Op::PutEndpoint(if_b, isolated(SlotId(1))), Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row("denied again", FromPod(if_a), tcp(a, b, PSH_ACK, b""), denied()),
                row("its answer too", FromPod(if_b), tcp(b, seen_as, PSH_ACK, b""), denied()),
            ],
        )?;
        lab.write([Op::PutEndpoint(if_b, open()), Op::AdvanceEpoch])?;
        let resumed = Translated(HandOver, tcp(seen_as, b, PSH_ACK, b""));
        send_all(lab, vec![row("resumed", FromPod(if_a), tcp(a, b, PSH_ACK, b""), resumed)])
    });
}

#[test]
fn what_cannot_be_told_apart_collides() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        through_the_service(lab, a, b, vip)?;
        send_all(
            lab,
            vec![
                row(
                    "a segment in the middle of a connection",
                    FromPod(if_a),
                    tcp(a, b, PSH_ACK, b"x"),
                    Drop(DropReason::Collision, Egress),
                ),
                row("another protocol", FromPod(if_a), sctp(a, b), Opens(HandOver)),
            ],
        )
    });
}

#[test]
fn without_the_fast_path_datagrams_and_errors_find_their_way() {
    in_both_families(|lab, w| {
        lab.maps.set_flags(config::flags::FAST_PATH, Switch::Off);
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        let opened = OpensTranslated(Pass, udp(a, b, b"q"));
        send_all(lab, vec![row("through the service", FromPod(if_a), udp(a, vip, b"q"), opened)])?;
        let seen_as = sent_from_elsewhere(lab, (a, if_a), &udp(a, b, b"12345678"))?;
        send_all(
            lab,
            vec![
                row("reaches the backend", ToPod(if_b, if_a), udp(seen_as, b, b"12345678"), Known(Pass)),
                row("leaves it", FromPod(if_b), udp(b, seen_as, b"12345678"), Known(Pass)),
                row(
                    "reaches the client",
                    ToPod(if_a, if_b),
                    udp(b, seen_as, b"12345678"),
                    Translated(Pass, udp(b, a, b"12345678")),
                ),
                row(
                    "as does the service's",
                    ToPod(if_a, if_b),
                    udp(b, a, b"r"),
                    Translated(Pass, udp(vip, a, b"r")),
                ),
            ],
        )?;
        let (asked, asked_as) = (udp(a, b, b"12345678"), udp(seen_as, b, b"12345678"));
        let seen = lab.send(ToPod(if_a, if_b), &unreachable(w.b, w.a, &asked_as))?;
        assert_eq!(seen.verdict, Pass, "{:?}", seen.counted);
        same_but_for_quoted_checksum("at the client", &seen.packet, &unreachable(w.b, w.a, &asked));
        let (got, sent) = (udp(b, a, b"12345678"), udp(b, seen_as, b"12345678"));
        let seen = lab.send(FromPod(if_a), &unreachable(w.a, w.b, &got))?;
        assert_eq!(seen.verdict, Pass, "{:?}", seen.counted);
        same_but_for_quoted_checksum("the client's own", &seen.packet, &unreachable(w.a, w.b, &sent));
        Ok(())
    });
}
