use netpol_common::{direction::Direction::Ingress, reason::DropReason, uplink::UplinkRow};
use netpol_tests::packet::{
    ETHERNET, FIN_ACK,
    Hook::{FromPod, ToPod},
    PSH_ACK, SYN, SYN_ACK,
    Uplink::{FromNetdev, ToNetdev},
    Verdict::{HandOver, Pass},
    World, tcp, udp,
};

use crate::table::{
    Expect::{Drop, Known, OpensTranslated, Translated},
    row, send_all,
};

use super::{NODE_PORT, in_a_node, sent};

#[test]
fn a_backend_of_this_node_sees_the_client_and_answers_as_the_service() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(w.b, 8080));
        send_all(
            lab,
            vec![
                row(
                    "SYN",
                    FromNetdev(up),
                    tcp(c, vip, SYN, b""),
                    OpensTranslated(HandOver, tcp(c, b, SYN, b"")),
                ),
                row(
                    "SYN ACK",
                    FromPod(if_b),
                    tcp(b, c, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(vip, c, SYN_ACK, b""))),
                ),
                row(
                    "data",
                    FromNetdev(up),
                    tcp(c, vip, PSH_ACK, b"odd"),
                    Translated(HandOver, tcp(c, b, PSH_ACK, b"odd")),
                ),
                row("UDP", FromNetdev(up), udp(c, vip, b"?"), OpensTranslated(HandOver, udp(c, b, b"?"))),
                row(
                    "UDP answer",
                    FromPod(if_b),
                    udp(b, c, b"!"),
                    Translated(HandOver, sent(udp(vip, c, b"!"))),
                ),
                row(
                    "an address that is no Service's",
                    FromNetdev(up),
                    tcp(c, World::at(w.b, 9), SYN, b""),
                    Known(Pass),
                ),
                row(
                    "in the middle",
                    FromNetdev(up),
                    tcp(World::at(o.client, 4001), vip, PSH_ACK, b""),
                    Drop(DropReason::MidFlow, Ingress),
                ),
            ],
        )
    });
}

#[test]
fn without_the_fast_path_the_node_routes_to_the_pod() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        lab.maps
            .set_flags(netpol_common::config::flags::FAST_PATH, netpol_agent::dataplane::kernel::Switch::Off);
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(w.b, 8080));
        send_all(
            lab,
            vec![
                row(
                    "comes in",
                    FromNetdev(up),
                    tcp(c, vip, SYN, b""),
                    OpensTranslated(Pass, tcp(c, b, SYN, b"")),
                ),
                row("reaches the pod", ToPod(if_b, up), tcp(c, b, SYN, b""), Known(Pass)),
                row(
                    "answer",
                    FromPod(if_b),
                    tcp(b, c, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(vip, c, SYN_ACK, b""))),
                ),
            ],
        )
    });
}

#[test]
fn a_backend_of_another_node_sees_this_node() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        let up = lab.uplink;
        let (c, vip, b) =
            (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(o.elsewhere, 8080));
        let seen = lab.send(FromNetdev(up), &tcp(c, vip, SYN, b""))?;
        assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
        let l4 = ETHERNET + if o.node.is_ipv4() { 20 } else { 40 };
        let port = u16::from_be_bytes([seen.packet[l4], seen.packet[l4 + 1]]);
        let (first, last) = UplinkRow::PORTS;
        assert!((first..=last).contains(&port), "source port {port}");
        let n = World::at(o.node, port);
        assert_eq!(seen.packet, sent(tcp(n, b, SYN, b"")), "both ends are translated");
        send_all(
            lab,
            vec![
                row(
                    "SYN ACK",
                    FromNetdev(up),
                    tcp(b, n, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(vip, c, SYN_ACK, b""))),
                ),
                row(
                    "data",
                    FromNetdev(up),
                    tcp(c, vip, PSH_ACK, b"odd"),
                    Translated(HandOver, sent(tcp(n, b, PSH_ACK, b"odd"))),
                ),
                row(
                    "from the service's own address",
                    FromNetdev(up),
                    tcp(vip, c, PSH_ACK, b""),
                    Drop(DropReason::Invalid, Ingress),
                ),
                row(
                    "FIN",
                    FromNetdev(up),
                    tcp(c, vip, FIN_ACK, b""),
                    Translated(HandOver, sent(tcp(n, b, FIN_ACK, b""))),
                ),
            ],
        )
    });
}

#[test]
fn a_server_of_the_node_itself_sees_the_client() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.node], 1, 0)?;
        let up = lab.uplink;
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(o.node, 8080));
        send_all(
            lab,
            vec![
                row(
                    "comes in",
                    FromNetdev(up),
                    tcp(c, vip, SYN, b""),
                    OpensTranslated(Pass, tcp(c, b, SYN, b"")),
                ),
                row(
                    "its answer",
                    ToNetdev(up),
                    tcp(b, c, SYN_ACK, b""),
                    Translated(Pass, tcp(vip, c, SYN_ACK, b"")),
                ),
                row(
                    "another connection of the node",
                    ToNetdev(up),
                    tcp(World::at(o.node, 9), c, SYN, b""),
                    Known(Pass),
                ),
            ],
        )
    });
}
