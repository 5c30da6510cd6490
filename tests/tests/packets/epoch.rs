use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    policy::SlotId,
    reason::DropReason,
};
use netpol_tests::packet::{
    Hook::{FromPod, ToPod},
    PSH_ACK, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, open, tcp,
};

use crate::table::{
    Expect::{Drop, Known, Opens, OpensTranslated, Translated},
    in_both_families, row, send_all,
};

fn closed_in() -> EndpointRow {
    EndpointRow { slot_in: SlotId(5), flags: open().flags | flags::ISOLATED_IN, ..open() }
}

#[test]
fn a_change_of_policy_reaches_an_established_connection_at_its_next_packet() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b) = (World::at(w.a, 1), World::at(w.b, 2));
        let data = || tcp(a, b, PSH_ACK, b"x");
        let back = || tcp(b, a, PSH_ACK, b"y");
        send_all(lab, vec![row("SYN", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver))])?;
        // Rows alone change nothing for it: the epoch does.
        lab.write([Op::PutEndpoint(if_b, closed_in())])?;
        send_all(lab, vec![row("before the epoch", FromPod(if_a), data(), Known(HandOver))])?;
        lab.write([Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row("revoked", FromPod(if_a), data(), Drop(DropReason::Policy, Ingress)),
                row("its answers too", FromPod(if_b), back(), Drop(DropReason::Policy, Ingress)),
                row("at the other hook too", ToPod(if_b, if_a), data(), Drop(DropReason::Policy, Ingress)),
            ],
        )?;
        lab.write([Op::PutEndpoint(if_b, open()), Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row("allowed again, answer first", FromPod(if_b), back(), Known(HandOver)),
                row("and data", FromPod(if_a), data(), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn a_translated_connection_is_judged_again_at_both_entries() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 1), World::at(w.b, 8080), World::at(w.service, 80));
        send_all(
            lab,
            vec![
                row(
                    "SYN",
                    FromPod(if_a),
                    tcp(a, vip, SYN, b""),
                    OpensTranslated(HandOver, tcp(a, b, SYN, b"")),
                ),
                row(
                    "SYN ACK",
                    FromPod(if_b),
                    tcp(b, a, SYN_ACK, b""),
                    Translated(HandOver, tcp(vip, a, SYN_ACK, b"")),
                ),
            ],
        )?;
        lab.write([
            Op::PutEndpoint(
                if_a,
                EndpointRow { slot_out: SlotId(6), flags: open().flags | flags::ISOLATED_OUT, ..open() },
            ),
            Op::AdvanceEpoch,
        ])?;
        send_all(
            lab,
            vec![
                row("answer", FromPod(if_b), tcp(b, a, PSH_ACK, b""), Drop(DropReason::Policy, Egress)),
                row("data", FromPod(if_a), tcp(a, vip, PSH_ACK, b""), Drop(DropReason::Policy, Egress)),
            ],
        )?;
        lab.write([Op::PutEndpoint(if_a, open()), Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row(
                    "data again",
                    FromPod(if_a),
                    tcp(a, vip, PSH_ACK, b"z"),
                    Translated(HandOver, tcp(a, b, PSH_ACK, b"z")),
                ),
                row(
                    "answer again",
                    FromPod(if_b),
                    tcp(b, a, PSH_ACK, b""),
                    Translated(HandOver, tcp(vip, a, PSH_ACK, b"")),
                ),
            ],
        )
    });
}

#[test]
fn the_nodes_own_connections_survive_any_policy() {
    in_both_families(|lab, w| {
        let if_b = lab.pods[1];
        let (node, b) = (World::at(w.stranger, 1), World::at(w.b, 2));
        send_all(lab, vec![row("probe", ToPod(if_b, 0), tcp(node, b, SYN, b""), Opens(Pass))])?;
        lab.write([
            Op::PutEndpoint(
                if_b,
                EndpointRow {
                    slot_out: SlotId(7),
                    flags: closed_in().flags | flags::ISOLATED_OUT,
                    ..closed_in()
                },
            ),
            Op::AdvanceEpoch,
        ])?;
        send_all(
            lab,
            vec![
                row("answer", FromPod(if_b), tcp(b, node, SYN_ACK, b""), Known(Pass)),
                row("data", ToPod(if_b, 0), tcp(node, b, PSH_ACK, b""), Known(Pass)),
            ],
        )
    });
}
