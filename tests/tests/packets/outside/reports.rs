//! ICMP errors about connections from outside: each says to its receiver what it would say of the packet that one knows.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use netpol_tests::packet::{
    ETHERNET,
    Hook::{FromPod, ToPod},
    Lab, Place,
    Uplink::{FromNetdev, ToNetdev},
    Verdict::{self, HandOver, Pass},
    World, packet_too_big, udp, unreachable,
};

use super::{NODE_PORT, Outside, in_a_node, sent};
use crate::errors::same_but_for_quoted_checksum;

/// Opens a connection from the client; the packet that goes on to the backend.
fn open(lab: &mut Lab, o: &Outside, verdict: Verdict) -> Result<Vec<u8>> {
    let (c, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
    let seen = lab.send(FromNetdev(lab.uplink), &udp(c, vip, b"?"))?;
    ensure!(seen.verdict == verdict, "{:?}", seen.counted);
    Ok(seen.packet)
}

fn report(
    lab: &mut Lab,
    (name, place): (&str, impl Into<Place>),
    packet: &[u8],
    (verdict, expected): (Verdict, &[u8]),
) -> Result<()> {
    let seen = lab.send(place, packet)?;
    assert_eq!(seen.verdict, verdict, "{name}: {:?}", seen.counted);
    same_but_for_quoted_checksum(name, &seen.packet, expected);
    Ok(())
}

fn router(o: &Outside) -> IpAddr {
    if o.node.is_ipv4() { [192, 0, 2, 1].into() } else { [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into() }
}

#[test]
fn about_a_backend_of_this_node() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(w.b, 8080));
        open(lab, &o, HandOver)?;
        let (request, translated) = (udp(c, vip, b"12345678"), udp(c, b, b"12345678"));
        report(
            lab,
            ("the pod refuses", FromPod(if_b)),
            &unreachable(w.b, o.client, &translated),
            (HandOver, &sent(unreachable(o.node, o.client, &request))),
        )?;
        let (answer, pods) = (udp(vip, c, b"12345678"), udp(b, c, b"12345678"));
        for (name, reporter) in [("the client reports", o.client), ("a router reports", router(&o))] {
            let delivered = packet_too_big(reporter, w.b, 1300, &pods);
            let place = FromNetdev(up);
            report(
                lab,
                (name, place),
                &packet_too_big(reporter, o.node, 1300, &answer),
                (HandOver, &delivered),
            )?;
            report(lab, (name, ToPod(if_b, up)), &delivered, (Pass, &delivered))?;
        }
        Ok(())
    });
}

#[test]
fn about_a_backend_of_another_node() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        let up = lab.uplink;
        let (c, vip, b) =
            (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(o.elsewhere, 8080));
        let first = open(lab, &o, HandOver)?;
        let l4 = ETHERNET + if o.node.is_ipv4() { 20 } else { 40 };
        let n = World::at(o.node, u16::from_be_bytes([first[l4], first[l4 + 1]]));
        report(
            lab,
            ("the backend refuses", FromNetdev(up)),
            &unreachable(o.elsewhere, o.node, &udp(n, b, b"12345678")),
            (HandOver, &sent(unreachable(o.node, o.client, &udp(c, vip, b"12345678")))),
        )?;
        report(
            lab,
            ("the client reports", FromNetdev(up)),
            &packet_too_big(o.client, o.node, 1300, &udp(vip, c, b"12345678")),
            (HandOver, &sent(packet_too_big(o.node, o.elsewhere, 1300, &udp(b, n, b"12345678")))),
        )?;
        report(
            lab,
            ("a router before the client reports", FromNetdev(up)),
            &packet_too_big(router(&o), o.node, 1300, &udp(vip, c, b"12345678")),
            (HandOver, &sent(packet_too_big(router(&o), o.elsewhere, 1300, &udp(b, n, b"12345678")))),
        )
    });
}

#[test]
fn about_a_server_of_the_node() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.node], 1, 0)?;
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(o.node, 8080));
        open(lab, &o, Pass)?;
        report(
            lab,
            ("the node refuses", ToNetdev(lab.uplink)),
            &unreachable(o.node, o.client, &udp(c, b, b"12345678")),
            (Pass, &unreachable(o.node, o.client, &udp(c, vip, b"12345678"))),
        )
    });
}
