//! Connections that find no room: in their pod's quota, or in the table.

use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    policy::SlotId,
    reason::DropReason,
};
use netpol_tests::packet::{
    Hook::{FromPod, ToPod},
    Lab, PSH_ACK, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, open, slot_for_pods, tcp, udp,
};

use crate::table::{
    Expect::{Counts, Drop, Known, Opens},
    in_both_families, row, send_all,
};

/// Pod a may fill two entries, may be reached by nobody, and may reach pods on some ports.
fn limited(lab: &mut Lab) -> anyhow::Result<()> {
    let if_a = lab.pods[0];
    lab.write(slot_for_pods(SlotId(5)))?;
    lab.maps.limit_connections(2);
    lab.write([Op::DeleteEndpoint(if_a), Op::PutEndpoint(if_a, row_of_a())])
}

fn row_of_a() -> EndpointRow {
    let isolation = flags::ISOLATED_IN | flags::ISOLATED_OUT;
    let (slot_in, slot_out) = (SlotId(0x50), SlotId(5));
    EndpointRow { slot_in, slot_out, flags: open().flags | isolation, ..open() }
}

#[test]
fn a_pod_over_its_quota_is_judged_packet_by_packet_and_nobody_else_is() {
    in_both_families(|lab, w| {
        limited(lab)?;
        let (if_a, if_b, up) = (lab.pods[0], lab.pods[1], lab.uplink);
        let a = |port| World::at(w.a, port);
        let dns = World::at(w.remote, 53);
        let over = || Counts(Pass, &["opened egress", "over-quota", "untracked"]);
        let answer = || Counts(Pass, &["opened ingress", "untracked"]);
        send_all(
            lab,
            vec![
                row("first", FromPod(if_a), udp(a(1), dns, b"?"), Opens(Pass)),
                row("second", FromPod(if_a), udp(a(2), dns, b"?"), Opens(Pass)),
                row("third", FromPod(if_a), udp(a(3), dns, b"?"), over()),
                row("third again", FromPod(if_a), udp(a(3), dns, b"?"), over()),
                row("its answer", ToPod(if_a, up), udp(dns, a(3), b"!"), answer()),
                row("the first goes on", ToPod(if_a, up), udp(dns, a(1), b"!"), Known(Pass)),
                row(
                    "what policy denies stays denied",
                    FromPod(if_a),
                    udp(a(4), World::at(w.remote, 54), b"?"),
                    Drop(DropReason::Policy, Egress),
                ),
                row(
                    "and what nobody asked for",
                    ToPod(if_a, up),
                    udp(World::at(w.remote, 54), a(3), b"!"),
                    Drop(DropReason::Policy, Ingress),
                ),
                row(
                    "a translated connection needs entries",
                    FromPod(if_a),
                    tcp(a(5), World::at(w.service, 80), SYN, b""),
                    Counts(netpol_tests::packet::Verdict::Drop, &["over-quota", "table-full egress"]),
                ),
                row("another pod", FromPod(if_b), udp(World::at(w.b, 1), dns, b"?"), Opens(Pass)),
            ],
        )
    });
}

#[test]
fn a_tcp_connection_without_an_entry_is_let_through_both_ways() {
    in_both_families(|lab, w| {
        limited(lab)?;
        let (if_a, up) = (lab.pods[0], lab.uplink);
        let (server, a) = (World::at(w.remote, 8080), |port| World::at(w.a, port));
        let over = || Counts(Pass, &["opened egress", "over-quota", "untracked"]);
        let back = || Counts(Pass, &["opened ingress", "over-quota", "untracked"]);
        send_all(
            lab,
            vec![
                row("first", FromPod(if_a), tcp(a(1), server, SYN, b""), Opens(Pass)),
                row("second", FromPod(if_a), tcp(a(2), server, SYN, b""), Opens(Pass)),
                row("third", FromPod(if_a), tcp(a(3), server, SYN, b""), over()),
                row("answered", ToPod(if_a, up), tcp(server, a(3), SYN_ACK, b""), back()),
                row("asks", FromPod(if_a), tcp(a(3), server, PSH_ACK, b"?"), over()),
                row("gets data", ToPod(if_a, up), tcp(server, a(3), PSH_ACK, b"!"), back()),
                row(
                    "no opening from outside",
                    ToPod(if_a, up),
                    tcp(server, a(3), SYN, b""),
                    Drop(DropReason::Policy, Ingress),
                ),
            ],
        )?;
        // Room again: the next packet gets an entry.
        lab.maps.limit_connections(64);
        lab.write([Op::DeleteEndpoint(if_a), Op::PutEndpoint(if_a, row_of_a())])?;
        send_all(
            lab,
            vec![
                row("tracked from here on", FromPod(if_a), tcp(a(3), server, PSH_ACK, b"?"), Opens(Pass)),
                row("both ways", ToPod(if_a, up), tcp(server, a(3), PSH_ACK, b"!"), Known(Pass)),
            ],
        )
    });
}

#[test]
fn who_is_asked_pays_where_who_asks_is_elsewhere() {
    in_both_families(|lab, w| {
        let (if_b, up) = (lab.pods[1], lab.uplink);
        lab.maps.limit_connections(1);
        lab.write([Op::DeleteEndpoint(if_b), Op::PutEndpoint(if_b, open())])?;
        let (b, from) = (World::at(w.b, 80), |port| World::at(w.stranger, port));
        let over = Counts(Pass, &["opened ingress", "over-quota", "untracked"]);
        send_all(
            lab,
            vec![
                row("first", ToPod(if_b, up), tcp(from(1), b, SYN, b""), Opens(Pass)),
                row("second", ToPod(if_b, up), tcp(from(2), b, SYN, b""), over),
                row(
                    "a local one pays itself",
                    FromPod(lab.pods[0]),
                    tcp(World::at(w.a, 1), b, SYN, b""),
                    Opens(HandOver),
                ),
            ],
        )
    });
}
