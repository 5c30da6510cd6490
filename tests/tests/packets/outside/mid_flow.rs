//! Segments of TCP connections that this node does not know: another node may have let them in.

use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::Ingress,
    net::proto,
    reason::DropReason,
    service::{FrontendRow, flags},
};
use netpol_tests::packet::{
    ETHERNET, FIN_ACK, Hook::FromPod, PSH_ACK, RST, SYN_ACK, Uplink::FromNetdev, Verdict::HandOver, World,
    tcp,
};

use super::{FAR, NODE_PORT, SVC, in_a_node, judged::own_address_is_judged, sent};
use crate::{
    maglev::{OtherNode, fill},
    table::{
        Expect::{Drop, OpensTranslated, Translated},
        row, send_all,
    },
};

const DROPPED: crate::table::Expect = Drop(DropReason::MidFlow, Ingress);

#[test]
fn a_segment_finds_the_backend_that_every_node_has_for_it() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, flags::MAGLEV)?;
        let backends = fill(lab, FAR, 2000, (w.b, 3), (o.elsewhere, 3))?;
        let (up, vip) = (lab.uplink, World::at(o.node, NODE_PORT));
        let other_node = OtherNode::with(&backends);
        let goes = |here: bool| {
            let to = |port| other_node.chooses(o.client, Some((port, proto::TCP)));
            let port = (4000..5000).find(|port| (to(*port).addr == w.b) == here).expect("a client of each");
            let backend = to(port);
            (World::at(o.client, port), World::at(backend.addr, backend.port))
        };
        let (c, b) = goes(true);
        send_all(
            lab,
            vec![
                row("a reset", FromNetdev(up), tcp(c, vip, RST, b""), DROPPED),
                row("an answer to an opening", FromNetdev(up), tcp(c, vip, SYN_ACK, b""), DROPPED),
                row(
                    "data",
                    FromNetdev(up),
                    tcp(c, vip, PSH_ACK, b"more"),
                    OpensTranslated(HandOver, tcp(c, b, PSH_ACK, b"more")),
                ),
                row(
                    "the answer",
                    FromPod(lab.pods[1]),
                    tcp(b, c, PSH_ACK, b"yes"),
                    Translated(HandOver, sent(tcp(vip, c, PSH_ACK, b"yes"))),
                ),
                row(
                    "the end",
                    FromNetdev(up),
                    tcp(c, vip, FIN_ACK, b""),
                    Translated(HandOver, tcp(c, b, FIN_ACK, b"")),
                ),
            ],
        )?;
        // A backend elsewhere sees another client than before, and says so.
        let (c, b) = goes(false);
        let seen = lab.send(FromNetdev(up), &tcp(c, vip, PSH_ACK, b"more"))?;
        let l4 = ETHERNET + if o.node.is_ipv4() { 20 } else { 40 };
        let n = World::at(o.node, u16::from_be_bytes([seen.packet[l4], seen.packet[l4 + 1]]));
        assert_eq!(seen.packet, sent(tcp(n, b, PSH_ACK, b"more")), "{:?}", seen.counted);
        send_all(
            lab,
            vec![row(
                "a reset for the client",
                FromNetdev(up),
                tcp(b, n, RST, b""),
                Translated(HandOver, sent(tcp(vip, c, RST, b""))),
            )],
        )
    });
}

#[test]
fn where_nodes_may_differ_it_is_dropped() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b, o.elsewhere], 1, flags::MAGLEV)?;
        let (up, vip, c) = (lab.uplink, World::at(o.node, NODE_PORT), World::at(o.client, 4000));
        let data = || tcp(c, vip, PSH_ACK, b"");
        send_all(lab, vec![row("a set without a table", FromNetdev(up), data(), DROPPED)])?;
        fill(lab, FAR, 2000, (w.b, 3), (o.elsewhere, 3))?;
        let row_of = FrontendRow { svc: SVC, near: FAR, far: FAR, flags: flags::EXTERNAL, affinity: 0 };
        lab.write([Op::PutFrontend(o.frontend(proto::TCP), row_of)])?;
        send_all(lab, vec![row("a way in that asks for none", FromNetdev(up), data(), DROPPED)])?;
        o.settle(lab, &[w.b], 1, flags::MAGLEV)?;
        let b = World::at(w.b, 8080);
        send_all(
            lab,
            vec![
                row(
                    "one backend",
                    FromNetdev(up),
                    data(),
                    OpensTranslated(HandOver, tcp(c, b, PSH_ACK, b"")),
                ),
                row("and on", FromNetdev(up), data(), Translated(HandOver, tcp(c, b, PSH_ACK, b""))),
            ],
        )
    });
}

#[test]
fn policy_is_asked_about_the_client_alone() {
    // The pod itself may speak to the client, so a segment of either direction would pass by itself.
    in_a_node(|lab, w, o| own_address_is_judged(lab, w, &o, flags::MAGLEV, PSH_ACK, DROPPED));
}
