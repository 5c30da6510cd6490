//! TCP segments without an entry: they open nothing, and pass only where their connection could have been opened.

use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    policy::SlotId,
    reason::DropReason,
};
use netpol_tests::packet::{
    FIN_ACK,
    Hook::{FromPod, ToPod},
    PSH_ACK, RST, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, open, slot_for_pods, tcp,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

const PODS: SlotId = SlotId(5);
/// Without rows: nobody.
const NOBODY: SlotId = SlotId(0x50);

fn isolated(slot_in: SlotId, slot_out: SlotId, more: u32) -> EndpointRow {
    let bit = |slot, bit| if slot == SlotId::NONE { 0 } else { bit };
    let isolation = bit(slot_in, flags::ISOLATED_IN) | bit(slot_out, flags::ISOLATED_OUT);
    EndpointRow { slot_in, slot_out, flags: open().flags | isolation | more, ..open() }
}

#[test]
fn a_segment_without_an_entry_passes_where_its_sender_could_open_the_connection() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        lab.write(slot_for_pods(PODS))?;
        lab.write([Op::PutEndpoint(if_a, isolated(SlotId::NONE, PODS, 0))])?;
        let (a, b, other) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.b, 81));
        let late = |direction| Drop(DropReason::MidFlow, direction);
        send_all(
            lab,
            vec![
                row("allowed", FromPod(if_a), tcp(a, b, PSH_ACK, b"x"), Opens(HandOver)),
                row("its answer", FromPod(if_b), tcp(b, a, PSH_ACK, b"y"), Known(HandOver)),
                row("denied", FromPod(if_a), tcp(a, other, PSH_ACK, b"x"), late(Egress)),
                row("denied end", FromPod(if_a), tcp(a, other, FIN_ACK, b""), late(Egress)),
                row("denied reset", FromPod(if_a), tcp(a, other, RST, b""), late(Egress)),
                row(
                    "to a service",
                    FromPod(if_a),
                    tcp(a, World::at(w.service, 80), PSH_ACK, b""),
                    late(Egress),
                ),
            ],
        )
    });
}

#[test]
fn an_answer_to_an_opening_is_judged_as_its_receivers_connection() {
    in_both_families(|lab, w| {
        let if_b = lab.pods[1];
        lab.write(slot_for_pods(PODS))?;
        lab.write([Op::PutEndpoint(if_b, isolated(PODS, NOBODY, 0))])?;
        let (a, b, other) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.b, 81));
        let late = || Drop(DropReason::MidFlow, Egress);
        send_all(
            lab,
            vec![
                row("data, which b may not send", FromPod(if_b), tcp(b, a, PSH_ACK, b""), late()),
                row(
                    "answer on a port that a may not open",
                    FromPod(if_b),
                    tcp(other, a, SYN_ACK, b""),
                    late(),
                ),
                row("answer", FromPod(if_b), tcp(b, a, SYN_ACK, b""), Opens(HandOver)),
                row("now data, too", FromPod(if_b), tcp(b, a, PSH_ACK, b""), Known(HandOver)),
                row(
                    "of the one that asked, too",
                    FromPod(lab.pods[0]),
                    tcp(a, b, PSH_ACK, b""),
                    Known(HandOver),
                ),
            ],
        )
    });
}

#[test]
fn a_pod_that_ran_before_its_programs_keeps_its_connections_as_either_end() {
    in_both_families(|lab, w| {
        let if_b = lab.pods[1];
        lab.write(slot_for_pods(PODS))?;
        lab.write([Op::PutEndpoint(if_b, isolated(PODS, NOBODY, flags::ADOPTING))])?;
        let (client, server) = (World::at(w.a, 40_000), World::at(w.b, 8080));
        let (remote, up) = (World::at(w.remote, 6443), lab.uplink);
        let late = |direction| Drop(DropReason::MidFlow, direction);
        send_all(
            lab,
            vec![
                row(
                    "its server speaks first",
                    FromPod(if_b),
                    tcp(server, client, PSH_ACK, b""),
                    Opens(HandOver),
                ),
                row(
                    "not on other ports",
                    FromPod(if_b),
                    tcp(World::at(w.b, 81), client, PSH_ACK, b""),
                    late(Egress),
                ),
                row(
                    "its client",
                    FromPod(if_b),
                    tcp(World::at(w.b, 40_000), remote, PSH_ACK, b""),
                    late(Egress),
                ),
                row(
                    "is answered",
                    ToPod(if_b, up),
                    tcp(remote, World::at(w.b, 40_000), PSH_ACK, b""),
                    late(Ingress),
                ),
            ],
        )?;
        // Which end opened it is still not known: the entry holds as long as either could have.
        lab.write([Op::PutEndpoint(if_b, isolated(PODS, NOBODY, 0)), Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row("later", FromPod(if_b), tcp(server, client, PSH_ACK, b""), Known(HandOver)),
                row(
                    "a new one",
                    FromPod(if_b),
                    tcp(server, World::at(w.remote, 9), PSH_ACK, b""),
                    late(Egress),
                ),
            ],
        )?;
        lab.write([Op::PutEndpoint(if_b, isolated(NOBODY, NOBODY, 0)), Op::AdvanceEpoch])?;
        let denied = Drop(DropReason::Policy, Ingress);
        send_all(lab, vec![row("revoked", FromPod(if_b), tcp(server, client, PSH_ACK, b""), denied)])
    });
}

#[test]
fn what_looks_like_an_answer_of_the_nodes_server_is_no_traffic_of_the_node() {
    in_both_families(|lab, w| {
        let if_b = lab.pods[1];
        lab.write([Op::PutEndpoint(if_b, isolated(NOBODY, NOBODY, 0))])?;
        let (server, client) = (World::at(w.stranger, 6443), World::at(w.stranger, 50_000));
        let late = || Drop(DropReason::MidFlow, Ingress);
        let to_b = |from, port, flags| tcp(from, World::at(w.b, port), flags, b"");
        send_all(
            lab,
            vec![
                row("data of its server", ToPod(if_b, 0), to_b(server, 40_000, PSH_ACK), late()),
                row("answer of its server", ToPod(if_b, 0), to_b(client, 8080, SYN_ACK), late()),
                row("data of its client", ToPod(if_b, 0), to_b(client, 8080, PSH_ACK), Opens(Pass)),
            ],
        )
    });
}

#[test]
fn a_reset_passes_and_leaves_nothing_behind() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let (a, b) = (World::at(w.a, 40_000), World::at(w.b, 8080));
        send_all(
            lab,
            vec![
                row("reset", FromPod(if_a), tcp(a, b, RST, b""), Known(Pass)),
                row("opening after it", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver)),
            ],
        )
    });
}

#[test]
fn flags_that_contradict_each_other_are_dropped_in_any_state() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let (a, b) = (World::at(w.a, 40_000), World::at(w.b, 8080));
        let scan =
            |name, flags| row(name, FromPod(if_a), tcp(a, b, flags, b""), Drop(DropReason::Invalid, Egress));
        let scans = || {
            vec![scan("none", 0), scan("all", 0x3f), scan("SYN FIN", 3), scan("FIN", 1), scan("SYN RST", 6)]
        };
        send_all(lab, scans())?;
        send_all(lab, vec![row("SYN", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver))])?;
        send_all(lab, scans())
    });
}

#[test]
fn nobody_opens_a_connection_from_the_answering_end_of_another() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        lab.write([Op::PutEndpoint(if_b, isolated(SlotId::NONE, NOBODY, 0))])?;
        let (a, b) = (World::at(w.a, 40_000), World::at(w.b, 8080));
        let back = || tcp(b, a, SYN, b"");
        send_all(
            lab,
            vec![
                row("SYN", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver)),
                row("SYN ACK", FromPod(if_b), tcp(b, a, SYN_ACK, b""), Known(HandOver)),
                row("while it lives", FromPod(if_b), back(), Drop(DropReason::Invalid, Egress)),
                row("the end", FromPod(if_a), tcp(a, b, RST, b""), Known(HandOver)),
                row("after it", FromPod(if_b), back(), Drop(DropReason::Policy, Egress)),
            ],
        )
    });
}
