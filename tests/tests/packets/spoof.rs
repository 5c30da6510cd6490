use netpol_common::{
    direction::Direction::{Egress, Ingress},
    reason::DropReason::Spoofed,
};
use netpol_tests::packet::{
    Hook::{FromPod, ToPod},
    PSH_ACK, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, tcp, udp,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

#[test]
fn a_pod_speaks_for_itself_only() {
    in_both_families(|lab, w| {
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        let (a, remote) = (World::at(w.a, 1), World::at(w.remote, 3));
        let stranger = World::at(w.stranger, 4);
        send_all(
            lab,
            vec![
                row("as another pod here", FromPod(if_b), tcp(a, remote, SYN, b""), Drop(Spoofed, Egress)),
                row("as a remote pod", FromPod(if_b), udp(remote, a, b""), Drop(Spoofed, Egress)),
                row("as a stranger", FromPod(if_b), udp(stranger, a, b""), Drop(Spoofed, Egress)),
                row("a opens", FromPod(if_a), tcp(a, remote, SYN, b""), Opens(Pass)),
                row("b rides along", FromPod(if_b), tcp(a, remote, PSH_ACK, b"x"), Drop(Spoofed, Egress)),
                row(
                    "b answers for the other end",
                    FromPod(if_b),
                    tcp(remote, a, SYN_ACK, b""),
                    Drop(Spoofed, Egress),
                ),
                row("the real answer", ToPod(if_a, uplink), tcp(remote, a, SYN_ACK, b""), Known(Pass)),
            ],
        )
    });
}

#[test]
fn the_wire_does_not_speak_for_a_pod_of_this_node() {
    in_both_families(|lab, w| {
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        let (a, b) = (World::at(w.a, 1), World::at(w.b, 2));
        send_all(
            lab,
            vec![
                row("new", ToPod(if_b, uplink), tcp(a, b, SYN, b""), Drop(Spoofed, Ingress)),
                row("a itself", FromPod(if_a), tcp(a, b, SYN, b""), Opens(HandOver)),
                row(
                    "into its connection",
                    ToPod(if_b, uplink),
                    tcp(a, b, PSH_ACK, b"x"),
                    Drop(Spoofed, Ingress),
                ),
                row(
                    "as an answer to a",
                    ToPod(if_a, uplink),
                    tcp(b, a, SYN_ACK, b""),
                    Drop(Spoofed, Ingress),
                ),
                row("a by way of the node", ToPod(if_b, if_a), tcp(a, b, PSH_ACK, b"x"), Known(Pass)),
            ],
        )
    });
}

#[test]
fn an_entry_does_not_follow_its_address_to_another_interface() {
    use netpol_agent::dataplane::Op;
    use netpol_common::peer::PeerRow;
    in_both_families(|lab, w| {
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        let (b, remote) = (World::at(w.b, 2), World::at(w.remote, 3));
        send_all(lab, vec![row("opens", ToPod(if_b, uplink), tcp(remote, b, SYN, b""), Opens(Pass))])?;
        // The address of b is given to the pod behind a's interface.
        lab.write([Op::PutPeer(w.b, PeerRow { ifindex: if_a, ..PeerRow::default() }), Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row("the old holder", FromPod(if_b), tcp(b, remote, SYN_ACK, b""), Drop(Spoofed, Egress)),
                // Nothing isolates the new holder, so that the segment opens a connection of its own.
                row("the new holder", ToPod(if_a, uplink), tcp(remote, b, PSH_ACK, b"x"), Opens(Pass)),
            ],
        )?;
        Ok(())
    });
}
