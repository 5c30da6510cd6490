//! At the node that the client came to.

use std::net::IpAddr;

use anyhow::Context;
use netpol_agent::dataplane::{Dataplane, Op};
use netpol_common::{conntrack::flags as ct, direction::Direction::Ingress, reason::DropReason};
use netpol_tests::packet::{
    ETHERNET, FIN_ACK, Fragment, PSH_ACK, RST, SYN,
    Uplink::FromNetdev,
    Verdict::{HandOver, Pass},
    World, encapsulated, fragment, packet_too_big, tcp, udp, verify, whole_icmp_error,
};

use super::{
    super::{NODE_PORT, in_a_node},
    entry_of, fits_in, other_node, sent_on, settle, too_big,
};
use crate::table::{
    Expect::{Drop, Known, OpensTranslated, Translated},
    row, send_all,
};

#[test]
fn packets_for_a_backend_elsewhere_are_sent_on_as_they_are() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        settle(lab, &o, &[o.elsewhere])?;
        let up = lab.uplink;
        let (c, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
        let goes = |name, packet: Vec<u8>| {
            row(name, FromNetdev(up), packet.clone(), Translated(HandOver, sent_on(&o, packet)))
        };
        let opens = |name, packet: Vec<u8>| {
            row(name, FromNetdev(up), packet.clone(), OpensTranslated(HandOver, sent_on(&o, packet)))
        };
        let long = udp(c, vip, &[7; 792]);
        let [first, later] = [Fragment::First, Fragment::Later].map(|which| fragment(&long, which, 77));
        send_all(
            lab,
            vec![
                opens("SYN", tcp(c, vip, SYN, b"")),
                goes("SYN again", tcp(c, vip, SYN, b"")),
                goes("ACK", tcp(c, vip, PSH_ACK, b"odd")),
                opens("UDP", udp(c, vip, b"?")),
                goes("UDP again", udp(c, vip, b"?")),
                goes("a first fragment", first),
                goes("a later one", later),
                goes("FIN", tcp(c, vip, FIN_ACK, b"")),
                row(
                    "nothing of it comes back by here",
                    FromNetdev(up),
                    tcp(vip, c, PSH_ACK, b""),
                    Drop(DropReason::Invalid, Ingress),
                ),
                goes("RST", tcp(c, vip, RST, b"")),
                // The same ports once more: over is over.
                opens("SYN after the end", tcp(c, vip, SYN, b"")),
                row(
                    "in the middle of another one",
                    FromNetdev(up),
                    tcp(World::at(o.client, 4001), vip, PSH_ACK, b""),
                    Drop(DropReason::MidFlow, Ingress),
                ),
            ],
        )
    });
}

#[test]
fn one_entry_says_all_and_is_answered_from_the_start() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        settle(lab, &o, &[o.elsewhere])?;
        let (c, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
        lab.send(FromNetdev(lab.uplink), &udp(c, vip, b"?"))?;
        let entry = entry_of(lab, c, vip)?.context("no front entry")?;
        let wanted = ct::OUTSIDE | ct::FRONT | ct::DSR | ct::REPLIED;
        assert_eq!(entry.flags & !ct::FROM_HIGH, wanted, "{entry:?}");
        assert_eq!(entry.owner(), netpol_common::conntrack::OUTSIDE);
        assert_eq!(entry_of(lab, c, World::at(o.elsewhere, 8080))?, None, "no back entry");
        Ok(())
    });
}

#[test]
fn pods_nodes_and_backends_that_are_no_pods_keep_the_translated_source() {
    in_a_node(|lab, _w, o| {
        let vip = World::at(o.node, NODE_PORT);
        let l4 = ETHERNET + if o.node.is_ipv4() { 20 } else { 40 };
        let protocol = if o.node.is_ipv4() { 9 } else { 6 };
        for (client, pods) in [
            (o.client, vec![]),
            (o.client, vec![o.client]),
            (other_node(&o), vec![o.elsewhere]),
            (o.client, vec![o.client, o.elsewhere]),
        ] {
            lab.connections.clear()?;
            let rows = lab.maps.read()?;
            lab.write(rows.cluster.into_keys().map(Op::DeleteCluster))?;
            lab.write(rows.members.into_iter().map(Op::DeleteMember))?;
            o.settle(lab, &[o.elsewhere], 0, 0)?;
            settle(lab, &o, &pods)?;
            let seen = lab.send(FromNetdev(lab.uplink), &udp(World::at(client, 4000), vip, b"?"))?;
            assert_eq!((seen.verdict, seen.packet[ETHERNET + protocol]), (HandOver, 17), "{client} {pods:?}");
            assert_eq!(seen.packet[l4 + 2..l4 + 4], 8080_u16.to_be_bytes(), "{client} {pods:?}");
        }
        Ok(())
    });
}

#[test]
fn what_is_too_large_between_the_nodes_is_reported_to_the_client() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        settle(lab, &o, &[o.elsewhere])?;
        let (c, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
        let (header, overhead) = if o.node.is_ipv4() { (28, 20) } else { (48, 40) };
        // As long as it fits with what is put around it, and two words longer: before 5.12 one is let through.
        let payload = 1500 - header - overhead;
        let fits = lab.send(FromNetdev(lab.uplink), &udp(c, vip, &vec![7; payload]))?;
        assert_eq!((fits.verdict, fits.packet.len()), (HandOver, 1514), "{:?}", fits.counted);
        let seen = lab.send(FromNetdev(lab.uplink), &udp(c, vip, &vec![7; payload + 8]))?;
        assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
        verify(&seen.packet)?;
        let [to, protocol, icmp] = if o.node.is_ipv4() { [30, 23, 34] } else { [38, 20, 54] };
        let bytes = match o.client {
            IpAddr::V4(addr) => addr.octets().to_vec(),
            IpAddr::V6(addr) => addr.octets().to_vec(),
        };
        assert_eq!(seen.packet[to..to + bytes.len()], bytes, "it goes to the client");
        let kind = if o.node.is_ipv4() { [1, 3, 4] } else { [58, 2, 0] };
        assert_eq!([seen.packet[protocol], seen.packet[icmp], seen.packet[icmp + 1]], kind);
        let mtu = u16::from_be_bytes([seen.packet[icmp + 6], seen.packet[icmp + 7]]);
        // Before 5.12 the kernel does not say what fits, and 1280 always does.
        assert!([1500, 1280].map(|mtu| mtu - overhead as u16).contains(&mtu), "{mtu}");
        Ok(())
    });
}

#[test]
fn reports_reach_whom_they_are_for() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        settle(lab, &o, &[o.elsewhere])?;
        let up = lab.uplink;
        let (c, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
        let router = other_node(&o);
        lab.send(FromNetdev(up), &udp(c, vip, b"?"))?;
        let question = udp(c, vip, b"12345678");
        let on_the_way = encapsulated(o.node, World::at(o.elsewhere, 8080), &question);
        // Whoever reports on IPv4 must quote enough to be of use (RFC 1812 §4.3.2.3).
        let quoted = |mtu: u16| whole_icmp_error(router, o.node, too_big(&o), fits_in(mtu), &on_the_way);
        let overhead = if o.node.is_ipv4() { 20 } else { 40 };
        let fits = 1300_u16 - overhead;
        let seen = lab.send(FromNetdev(up), &quoted(1300))?;
        assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
        verify(&seen.packet)?;
        let told = whole_icmp_error(o.node, o.client, too_big(&o), fits_in(fits), &question);
        let icmp = if o.node.is_ipv4() { 34 } else { 54 };
        assert_eq!(seen.packet[icmp..], told[icmp..], "the way between the nodes is narrow");
        let addresses = icmp - if o.node.is_ipv4() { 8 } else { 32 };
        assert_eq!(seen.packet[addresses..icmp], told[addresses..icmp], "to whom");

        let about_answer = packet_too_big(o.client, o.node, 1300, &udp(vip, c, b"12345678"));
        let carried = sent_on(&o, about_answer.clone());
        send_all(
            lab,
            vec![
                row(
                    "the client reports on an answer",
                    FromNetdev(up),
                    about_answer,
                    Translated(HandOver, carried),
                ),
                row(
                    "on a packet to somebody else",
                    FromNetdev(up),
                    whole_icmp_error(
                        router,
                        o.node,
                        too_big(&o),
                        fits_in(1280),
                        &encapsulated(o.node, World::at(o.client, 8080), &question),
                    ),
                    Known(Pass),
                ),
            ],
        )
    });
}
