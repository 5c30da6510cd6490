use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    policy::{ClassId, PolicyKey, PolicyRow, RuleId, SlotId},
    reason::DropReason,
};
use netpol_tests::packet::{
    Hook::{FromPod, ToPod},
    PSH_ACK, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, echo_request, open, other, sctp, slot_for_pods, tcp, udp,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

const SLOT: SlotId = SlotId(0x5107);

fn isolated_in() -> EndpointRow {
    EndpointRow { slot_in: SLOT, flags: open().flags | flags::ISOLATED_IN, ..open() }
}

#[test]
fn an_unisolated_pair_talks_and_answers_share_the_entry() {
    in_both_families(|lab, w| {
        let (a, b) = (World::at(w.a, 40_000), World::at(w.b, 8080));
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        send_all(
            lab,
            vec![
                row("SYN", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver)),
                row("SYN ACK", FromPod(if_b), tcp(b, a, SYN_ACK, b""), Known(HandOver)),
                row("data", FromPod(if_a), tcp(a, b, PSH_ACK, b"hello"), Known(HandOver)),
                row("on the slow path", ToPod(if_b, if_a), tcp(a, b, PSH_ACK, b"hello"), Known(Pass)),
                row("UDP", FromPod(if_a), udp(a, b, b"x"), Opens(HandOver)),
                row("UDP answer", FromPod(if_b), udp(b, a, b"x"), Known(HandOver)),
                row("SCTP", FromPod(if_a), sctp(a, b), Opens(HandOver)),
                row("ping", FromPod(if_a), echo_request(w.a, w.b, 7), Opens(HandOver)),
                row("GRE", FromPod(if_a), other(w.a, w.b, 47, &[0; 8]), Opens(HandOver)),
                row("out", FromPod(if_a), tcp(a, World::at(w.stranger, 443), SYN, b""), Opens(Pass)),
                row(
                    "back",
                    ToPod(if_a, uplink),
                    tcp(World::at(w.stranger, 443), a, SYN_ACK, b""),
                    Known(Pass),
                ),
            ],
        )
    });
}

#[test]
fn ingress_is_judged_at_the_destination_by_class_protocol_and_port() {
    in_both_families(|lab, w| {
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        lab.write(slot_for_pods(SLOT))?;
        lab.write([Op::PutEndpoint(if_b, isolated_in())])?;
        let a = World::at(w.a, 40_000);
        let b = |port| World::at(w.b, port);
        let remote = World::at(w.remote, 40_001);
        let stranger = World::at(w.stranger, 40_002);
        let denied = || Drop(DropReason::Policy, Ingress);
        send_all(
            lab,
            vec![
                row("8080", FromPod(if_a), tcp(a, b(8080), SYN, b""), Opens(HandOver)),
                row("its answer", FromPod(if_b), tcp(b(8080), a, SYN_ACK, b""), Known(HandOver)),
                row("first of the range", FromPod(if_a), tcp(a, b(9000), SYN, b""), Opens(HandOver)),
                row("last of the range", FromPod(if_a), tcp(a, b(9007), SYN, b""), Opens(HandOver)),
                row("behind the range", FromPod(if_a), tcp(a, b(9008), SYN, b""), denied()),
                row("before the range", FromPod(if_a), tcp(a, b(8999), SYN, b""), denied()),
                row("other port", FromPod(if_a), tcp(a, b(80), SYN, b""), denied()),
                row("UDP 53", FromPod(if_a), udp(a, b(53), b"?"), Opens(HandOver)),
                row("TCP 53", FromPod(if_a), tcp(a, b(53), SYN, b""), denied()),
                row("UDP 8080", FromPod(if_a), udp(a, b(8080), b"?"), denied()),
                row("SCTP 8080", FromPod(if_a), sctp(a, b(8080)), denied()),
                row("ping", FromPod(if_a), echo_request(w.a, w.b, 7), denied()),
                row("GRE", FromPod(if_a), other(w.a, w.b, 47, &[0; 8]), denied()),
                row("remote pod", ToPod(if_b, uplink), tcp(remote, b(8080), SYN, b""), Opens(Pass)),
                row("answer to it", FromPod(if_b), tcp(b(8080), remote, SYN_ACK, b""), Known(Pass)),
                row("stranger", ToPod(if_b, uplink), tcp(stranger, b(8080), SYN, b""), denied()),
                row("the node", ToPod(if_b, 0), tcp(stranger, b(22), SYN, b""), Opens(Pass)),
                row("answer to the node", FromPod(if_b), tcp(b(22), stranger, SYN_ACK, b""), Known(Pass)),
                row(
                    "posing as the node",
                    ToPod(if_b, uplink),
                    tcp(stranger, b(22), PSH_ACK, b""),
                    Drop(DropReason::MidFlow, Ingress),
                ),
                row("b may send", FromPod(if_b), tcp(b(50_000), a, SYN, b""), Opens(HandOver)),
            ],
        )
    });
}

#[test]
fn egress_is_judged_at_the_source() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        lab.write(slot_for_pods(SLOT))?;
        lab.write([Op::PutEndpoint(
            if_a,
            EndpointRow { slot_out: SLOT, flags: open().flags | flags::ISOLATED_OUT, ..open() },
        )])?;
        let a = World::at(w.a, 40_000);
        let b = World::at(w.b, 8080);
        send_all(
            lab,
            vec![
                row("allowed", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver)),
                row("remote pod", FromPod(if_a), tcp(a, World::at(w.remote, 8080), SYN, b""), Opens(Pass)),
                row(
                    "other port",
                    FromPod(if_a),
                    tcp(a, World::at(w.b, 81), SYN, b""),
                    Drop(DropReason::Policy, Egress),
                ),
                row(
                    "stranger",
                    FromPod(if_a),
                    tcp(a, World::at(w.stranger, 8080), SYN, b""),
                    Drop(DropReason::Policy, Egress),
                ),
                row(
                    "b to a",
                    FromPod(if_b),
                    tcp(World::at(w.b, 9), World::at(w.a, 1), SYN, b""),
                    Opens(HandOver),
                ),
                row(
                    "a answers",
                    FromPod(if_a),
                    tcp(World::at(w.a, 1), World::at(w.b, 9), SYN_ACK, b""),
                    Known(HandOver),
                ),
            ],
        )
    });
}

#[test]
fn a_rule_without_peers_matches_the_unnamed_too() {
    in_both_families(|lab, w| {
        let (if_b, uplink) = (lab.pods[1], lab.uplink);
        let any = PolicyRow { any: RuleId(RuleId::HASHED | 9), ..PolicyRow::default() };
        lab.write([
            Op::PutPolicy(PolicyKey { slot: SLOT, class: ClassId::ANY }, any),
            Op::PutEndpoint(
                if_b,
                EndpointRow { flags: isolated_in().flags | flags::ANY_IN, ..isolated_in() },
            ),
        ])?;
        let b = World::at(w.b, 1);
        send_all(
            lab,
            vec![
                row("stranger", ToPod(if_b, uplink), tcp(World::at(w.stranger, 2), b, SYN, b""), Opens(Pass)),
                row("pod", ToPod(if_b, uplink), udp(World::at(w.remote, 2), b, b""), Opens(Pass)),
                row("GRE", ToPod(if_b, uplink), other(w.stranger, w.b, 47, &[0; 8]), Opens(Pass)),
            ],
        )
    });
}

#[test]
fn a_pending_interface_is_closed_at_both_ends() {
    in_both_families(|lab, w| {
        let (if_a, if_b, third, uplink) = (lab.pods[0], lab.pods[1], lab.pods[2], lab.uplink);
        lab.write([Op::PutEndpoint(if_b, EndpointRow::default())])?;
        let (a, b, stranger) = (World::at(w.a, 1), World::at(w.b, 2), World::at(w.stranger, 3));
        send_all(
            lab,
            vec![
                row("to it", FromPod(if_a), tcp(a, b, SYN, b""), Drop(DropReason::Pending, Ingress)),
                row("from it", FromPod(if_b), tcp(b, a, SYN, b""), Drop(DropReason::Pending, Egress)),
                row(
                    "to it from outside",
                    ToPod(if_b, uplink),
                    tcp(stranger, b, SYN, b""),
                    Drop(DropReason::Pending, Ingress),
                ),
                row(
                    "to it from the node",
                    ToPod(if_b, 0),
                    tcp(stranger, b, SYN, b""),
                    Drop(DropReason::Pending, Ingress),
                ),
                row(
                    "without any row",
                    FromPod(third),
                    tcp(a, b, SYN, b""),
                    Drop(DropReason::Pending, Egress),
                ),
            ],
        )
    });
}
