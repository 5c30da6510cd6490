//! What comes in by an interface that the agent has not seen yet.

use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::Ingress,
    reason::DropReason::{Pending, Spoofed},
};
use netpol_tests::packet::{
    Hook::{FromPod, ToPod},
    PSH_ACK, SYN, SYN_ACK,
    Verdict::Pass,
    World, packet_too_big, tcp, udp,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

#[test]
fn nobody_is_believed_by_an_interface_that_may_be_a_new_pods() {
    in_both_families(|lab, w| {
        let (if_a, if_b, new) = (lab.pods[0], lab.pods[1], lab.newcomer);
        let (a, b) = (World::at(w.a, 1), World::at(w.b, 2));
        let (remote, stranger) = (World::at(w.remote, 3), World::at(w.stranger, 4));
        let pending = || Drop(Pending, Ingress);
        let sent = udp(a, stranger, b"");
        send_all(
            lab,
            vec![
                row("as nobody", ToPod(if_b, new), udp(stranger, b, b""), pending()),
                row("as a pod of another node", ToPod(if_b, new), tcp(remote, b, SYN, b""), pending()),
                row("in mid-stream", ToPod(if_b, new), tcp(stranger, b, PSH_ACK, b"x"), pending()),
                row("as an answer", ToPod(if_b, new), tcp(stranger, b, SYN_ACK, b""), pending()),
                row("as a pod of this node", ToPod(if_b, new), udp(a, b, b""), Drop(Spoofed, Ingress)),
                row("from outside", ToPod(if_b, lab.uplink), udp(stranger, b, b""), Opens(Pass)),
                row("from the node", ToPod(if_b, 0), tcp(stranger, b, SYN, b""), Opens(Pass)),
                row("a sends", FromPod(if_a), sent.clone(), Opens(Pass)),
                row(
                    "about what a has sent",
                    ToPod(if_a, new),
                    packet_too_big(w.remote, w.a, 1280, &sent),
                    pending(),
                ),
                row(
                    "the same from outside",
                    ToPod(if_a, lab.uplink),
                    packet_too_big(w.remote, w.a, 1280, &sent),
                    Known(Pass),
                ),
                // A way that has changed must not cut off what is there.
                row("of a connection", ToPod(if_a, new), udp(stranger, a, b""), Known(Pass)),
            ],
        )
    });
}

#[test]
fn a_pod_behind_another_source_is_known_once_its_policy_is_in_place() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let from = |port| udp(World::at(w.stranger, port), World::at(w.b, 2), b"");
        send_all(lab, vec![row("translated by the node", ToPod(if_b, if_a), from(1), Opens(Pass))])?;
        lab.write([Op::DeleteEndpoint(if_a)])?;
        send_all(lab, vec![row("closed", ToPod(if_b, if_a), from(2), Drop(Pending, Ingress))])
    });
}
