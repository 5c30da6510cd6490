//! A client outside that speaks to a backend itself, from the port under which that one answers it as a Service.

use std::net::SocketAddr;

use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::Ingress,
    endpoint::{EndpointRow, flags as endpoint},
    policy::SlotId,
    reason::DropReason,
    uplink::UplinkRow,
};
use netpol_tests::packet::{
    ETHERNET, FIN_ACK, Hook::FromPod, Lab, PSH_ACK, SYN, SYN_ACK, Uplink::FromNetdev, Uplink::ToNetdev,
    Verdict, Verdict::HandOver, Verdict::Pass, World, open, packet_too_big, tcp, udp,
};

use crate::{
    errors::same_but_for_quoted_checksum,
    table::{
        Expect::{Drop, OpensTranslated, Translated},
        row, send_all,
    },
};

use super::{NODE_PORT, in_a_node, sent};

/// Sends what must go on to the backend with a source port that was given out; its sender as the backend sees it.
fn seen_from_elsewhere(
    lab: &mut Lab,
    client: SocketAddr,
    packet: &[u8],
    verdict: Verdict,
) -> anyhow::Result<SocketAddr> {
    let seen = lab.send(FromNetdev(lab.uplink), packet)?;
    assert_eq!(seen.verdict, verdict, "{:?}", seen.counted);
    let l4 = ETHERNET + if client.is_ipv4() { 20 } else { 40 };
    let port = u16::from_be_bytes([seen.packet[l4], seen.packet[l4 + 1]]);
    let (first, last) = UplinkRow::PORTS;
    assert!((first..=last).contains(&port), "source port {port}");
    Ok(World::at(client.ip(), port))
}

#[test]
fn a_pod_of_this_node_keeps_both_connections() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(w.b, 8080));
        let opened = OpensTranslated(HandOver, tcp(c, b, SYN, b""));
        send_all(lab, vec![row("by the node port", FromNetdev(up), tcp(c, vip, SYN, b""), opened)])?;
        let seen_as = seen_from_elsewhere(lab, c, &tcp(c, b, SYN, b""), HandOver)?;
        let both = |name: &'static str| {
            vec![
                row(
                    name,
                    FromPod(if_b),
                    tcp(b, seen_as, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(b, c, SYN_ACK, b""))),
                ),
                row(
                    name,
                    FromPod(if_b),
                    tcp(b, c, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(vip, c, SYN_ACK, b""))),
                ),
                row(
                    name,
                    FromNetdev(up),
                    tcp(c, b, PSH_ACK, b"direct"),
                    Translated(HandOver, tcp(seen_as, b, PSH_ACK, b"direct")),
                ),
                row(
                    name,
                    FromNetdev(up),
                    tcp(c, vip, PSH_ACK, b"service"),
                    Translated(HandOver, tcp(c, b, PSH_ACK, b"service")),
                ),
            ]
        };
        send_all(lab, both("this epoch"))?;
        lab.write([Op::AdvanceEpoch])?;
        send_all(lab, both("another epoch"))?;
        let ends = Translated(HandOver, tcp(seen_as, b, FIN_ACK, b""));
        send_all(lab, vec![row("ends", FromNetdev(up), tcp(c, b, FIN_ACK, b""), ends)])?;
        let late = tcp(World::at(o.client, seen_as.port()), b, PSH_ACK, b"");
        let collides = Drop(DropReason::Collision, Ingress);
        send_all(lab, vec![row("in the middle, from the port given out", FromNetdev(up), late, collides)])
    });
}

#[test]
fn what_the_client_reports_is_about_the_connection_that_it_knows() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let up = lab.uplink;
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(w.b, 8080));
        let opened = OpensTranslated(HandOver, udp(c, b, b"?"));
        send_all(lab, vec![row("by the node port", FromNetdev(up), udp(c, vip, b"?"), opened)])?;
        let seen_as = seen_from_elsewhere(lab, c, &udp(c, b, b"?"), HandOver)?;
        let (got, said) = (udp(b, c, b"12345678"), udp(b, seen_as, b"12345678"));
        let seen = lab.send(FromNetdev(up), &packet_too_big(o.client, w.b, 1300, &got))?;
        assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
        let expected = packet_too_big(o.client, w.b, 1300, &said);
        same_but_for_quoted_checksum("about the direct one", &seen.packet, &expected);
        let (got, said) = (udp(vip, c, b"12345678"), udp(b, c, b"12345678"));
        let seen = lab.send(FromNetdev(up), &packet_too_big(o.client, o.node, 1300, &got))?;
        assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
        let expected = packet_too_big(o.client, w.b, 1300, &said);
        same_but_for_quoted_checksum("about the service's", &seen.packet, &expected);
        Ok(())
    });
}

#[test]
fn policy_judges_it() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let up = lab.uplink;
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(w.b, 8080));
        let opened = OpensTranslated(HandOver, udp(c, b, b"?"));
        send_all(lab, vec![row("by the node port", FromNetdev(up), udp(c, vip, b"?"), opened)])?;
        let isolated =
            EndpointRow { slot_in: SlotId(1), flags: open().flags | endpoint::ISOLATED_IN, ..open() };
        lab.write([Op::PutEndpoint(lab.pods[1], isolated), Op::AdvanceEpoch])?;
        let denied = Drop(DropReason::Policy, Ingress);
        send_all(lab, vec![row("to the backend itself", FromNetdev(up), udp(c, b, b"?"), denied)])
    });
}

#[test]
fn a_server_of_the_node_itself_keeps_both_connections() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.node], 1, 0)?;
        let up = lab.uplink;
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(o.node, 8080));
        let opened = OpensTranslated(Pass, tcp(c, b, SYN, b""));
        send_all(lab, vec![row("by the node port", FromNetdev(up), tcp(c, vip, SYN, b""), opened)])?;
        let seen_as = seen_from_elsewhere(lab, c, &tcp(c, b, SYN, b""), Pass)?;
        send_all(
            lab,
            vec![
                row(
                    "its answer",
                    ToNetdev(up),
                    tcp(b, seen_as, SYN_ACK, b""),
                    Translated(Pass, tcp(b, c, SYN_ACK, b"")),
                ),
                row(
                    "the service's",
                    ToNetdev(up),
                    tcp(b, c, SYN_ACK, b""),
                    Translated(Pass, tcp(vip, c, SYN_ACK, b"")),
                ),
            ],
        )
    });
}
