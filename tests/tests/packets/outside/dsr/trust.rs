//! Who is believed.

use netpol_agent::dataplane::kernel::Switch;
use netpol_common::{
    config::flags::{ACROSS4, ACROSS6},
    direction::Direction::Egress,
    reason::DropReason,
};
use netpol_tests::packet::{
    Fragment,
    Hook::FromPod,
    PSH_ACK, SYN, SYN_ACK,
    Uplink::FromNetdev,
    Verdict::{HandOver, Pass},
    World, encapsulated, fragment, other, packet_too_big, tcp, udp,
};

use super::{
    super::{NODE_PORT, in_a_node, one_hop_fewer},
    other_node, refused, settle,
};
use crate::table::{
    Expect::{Drop, Known, Opens, OpensTranslated},
    row, send_all,
};

#[test]
fn a_node_takes_nothing_on_trust() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        settle(lab, &o, &[w.a, w.b])?;
        let (c, b) = (World::at(o.client, 4000), World::at(w.b, 8080));
        let (vip, node) = (World::at(o.node, NODE_PORT), other_node(&o));
        let ask = tcp(c, vip, SYN, b"");
        let elsewhere = tcp(c, World::at(o.node, 9), SYN, b"");
        let neighbour = tcp(World::at(w.a, 1), vip, SYN, b"");
        let to_pod = tcp(c, World::at(w.a, 80), SYN, b"");
        let reports = packet_too_big(o.client, o.node, 1300, &udp(vip, c, b"12345678"));
        let nested = encapsulated(node, b, &encapsulated(node, b, &ask));
        for (name, packet, reason) in [
            ("from nobody of the cluster", encapsulated(o.client, b, &ask), DropReason::Encapsulation),
            ("from another pod", encapsulated(o.elsewhere, b, &ask), DropReason::Encapsulation),
            ("from a pod of this node", encapsulated(w.a, b, &ask), DropReason::Encapsulation),
            ("under this node's own address", encapsulated(o.node, b, &ask), DropReason::Encapsulation),
            (
                "for a port that the pod has not",
                encapsulated(node, World::at(w.b, 8081), &ask),
                DropReason::Encapsulation,
            ),
            (
                "for a pod that does not answer",
                encapsulated(node, World::at(w.a, 8080), &ask),
                DropReason::Encapsulation,
            ),
            ("for no Service", encapsulated(node, b, &elsewhere), DropReason::Encapsulation),
            ("for a pod past its Service", encapsulated(node, b, &to_pod), DropReason::Encapsulation),
            ("in the name of a pod of this node", encapsulated(node, b, &neighbour), DropReason::Spoofed),
            ("a report on nothing", encapsulated(node, b, &reports), DropReason::Encapsulation),
            (
                "no packet in it",
                other(node, w.b, if o.node.is_ipv4() { 4 } else { 41 }, b"?"),
                DropReason::Encapsulation,
            ),
            ("one in one in one", nested, DropReason::Encapsulation),
        ] {
            refused(lab, name, &packet, reason)?;
        }
        let mut torn = encapsulated(node, b, &ask);
        if o.node.is_ipv4() {
            torn = fragment(&torn, Fragment::First, 8080);
            refused(lab, "a fragment", &torn, DropReason::Encapsulation)?;
        }
        // A tunnel of somebody else's, between the nodes themselves.
        let foreign = encapsulated(node, World::at(o.node, 1), &ask);
        send_all(lab, vec![row("another tunnel", FromNetdev(lab.uplink), foreign, Known(Pass))])?;
        // In an entry's name, from whom it is not believed.
        lab.send(FromNetdev(lab.uplink), &encapsulated(node, b, &ask))?;
        let known = encapsulated(o.client, b, &tcp(c, vip, PSH_ACK, b"odd"));
        refused(lab, "of a known connection", &known, DropReason::Encapsulation)
    });
}

#[test]
fn an_answer_to_a_pod_comes_in_no_packet() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        settle(lab, &o, &[w.a, w.b])?;
        lab.maps.set_flags(ACROSS4 | ACROSS6, Switch::On);
        let (a, b, r) = (World::at(w.a, 4000), World::at(w.b, 8080), World::at(w.remote, 8080));
        let (ask, answer) = (tcp(a, r, SYN, b""), tcp(r, a, SYN_ACK, b""));
        let opens = OpensTranslated(HandOver, one_hop_fewer(ask.clone()));
        send_all(lab, vec![row("SYN", FromPod(lab.pods[0]), ask, opens)])?;
        let inside = encapsulated(other_node(&o), b, &answer);
        refused(lab, "in a packet", &inside, DropReason::Encapsulation)?;
        send_all(lab, vec![row("by itself", FromNetdev(lab.uplink), answer, Known(HandOver))])
    });
}

#[test]
fn without_the_mode_a_packet_in_a_packet_is_one_like_any_other() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let packet = encapsulated(
            other_node(&o),
            World::at(w.b, 8080),
            &tcp(World::at(o.client, 4000), World::at(o.node, NODE_PORT), SYN, b""),
        );
        let (up, if_a) = (lab.uplink, lab.pods[0]);
        let of_pod = encapsulated(w.a, World::at(w.remote, 1), &packet);
        send_all(
            lab,
            vec![
                row("from a node", FromNetdev(up), packet, Known(Pass)),
                row("from a pod", FromPod(if_a), of_pod, Opens(Pass)),
            ],
        )
    });
}

#[test]
fn a_pod_sends_no_packets_in_packets() {
    in_a_node(|lab, w, o| {
        settle(lab, &o, &[w.a, w.b])?;
        let ask = tcp(World::at(o.client, 4000), World::at(o.node, NODE_PORT), SYN, b"");
        let if_a = lab.pods[0];
        let forged = |to| encapsulated(w.a, World::at(to, 8080), &ask);
        send_all(
            lab,
            vec![
                row(
                    "to a pod elsewhere",
                    FromPod(if_a),
                    forged(w.remote),
                    Drop(DropReason::Encapsulation, Egress),
                ),
                row("to a pod here", FromPod(if_a), forged(w.b), Drop(DropReason::Encapsulation, Egress)),
                row(
                    "under its node's address",
                    FromPod(if_a),
                    encapsulated(o.node, World::at(w.remote, 8080), &ask),
                    Drop(DropReason::Encapsulation, Egress),
                ),
            ],
        )
    });
}
