//! The same before the kernel has a buffer: what goes through the node is translated as `from_netdev` does it, and all else passes.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use netpol_agent::dataplane::{
    Op,
    kernel::{Switch, XdpMode::Native},
};
use netpol_common::{
    config::flags::FAST_PATH,
    conntrack::CtEntry,
    net::proto,
    wire::{self, CARRIES_MARKS, WireRow},
};
use netpol_tests::packet::{
    ETHERNET, Extension, FIN_ACK, Fragment, Lab, PSH_ACK, RST, SYN, SYN_ACK,
    Uplink::{FromNetdev, FromWire},
    Verdict::{HandOver, Pass},
    World, arp, extended, fragment, sctp, tcp, udp, unreachable, with_ipv4_options,
};

use crate::{
    entry::entry_of,
    table::{
        Expect::{Known, Translated},
        Row, row, send_all,
    },
};

use super::{NODE_PORT, Outside, in_a_node, sent};

/// Frames come in by loopback: kernels before 5.15 know no other interface here.
const WIRE: FromWireAt = FromWireAt;
struct FromWireAt;
impl From<FromWireAt> for netpol_tests::packet::Place {
    fn from(_: FromWireAt) -> Self {
        FromWire(0).into()
    }
}

/// The ends of a connection whose backend is on another node.
struct Ends {
    client: SocketAddr,
    vip: SocketAddr,
    /// What the backend takes for the client.
    node: SocketAddr,
    backend: SocketAddr,
}

/// MAC address of the tables' frames, which is that of the uplink.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const LOOPBACK: u32 = 1;

/// Has frames seen on both interfaces.
fn carried(lab: &mut Lab) -> Result<()> {
    lab.xdp.put(LOOPBACK, Native, OWN)?;
    Ok(lab.xdp.put(lab.uplink, Native, OWN)?)
}

type Make = fn(SocketAddr, SocketAddr) -> Vec<u8>;

/// Opens a connection by `from_netdev`, which alone does that.
fn opened(lab: &mut Lab, o: &Outside, make: Make) -> Result<Ends> {
    o.settle(lab, &[o.elsewhere], 0, 0)?;
    carried(lab)?;
    let (client, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
    let seen = lab.send(FromNetdev(lab.uplink), &make(client, vip))?;
    ensure!(seen.verdict == HandOver, "{:?}", seen.counted);
    let l4 = l4(o.node);
    let node = World::at(o.node, u16::from_be_bytes([seen.packet[l4], seen.packet[l4 + 1]]));
    Ok(Ends { client, vip, node, backend: World::at(o.elsewhere, 8080) })
}

fn l4(addr: IpAddr) -> usize {
    ETHERNET + if addr.is_ipv4() { 20 } else { 40 }
}

fn entry(lab: &Lab, src: SocketAddr, dst: SocketAddr, proto: u8) -> Result<CtEntry> {
    entry_of(lab, src, dst, proto)?.context("no entry")
}

/// `frame` passes, and nothing is seen of it.
fn passes<'a>(name: &'a str, frame: Vec<u8>) -> Row<'a> {
    row(name, WIRE, frame, Known(Pass))
}

fn syn(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    tcp(src, dst, SYN, b"")
}

fn question(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    udp(src, dst, b"?")
}

#[test]
fn what_goes_through_the_node_is_sent_on() {
    in_a_node(|lab, _w, o| {
        let Ends { client, vip, node, backend } = opened(lab, &o, syn)?;
        let frames = lab.xdp_sent.read()?;
        let there = |flags, data: &[u8]| Translated(HandOver, sent(tcp(node, backend, flags, data)));
        let back = |flags, data: &[u8]| Translated(HandOver, sent(tcp(vip, client, flags, data)));
        send_all(
            lab,
            vec![
                row("SYN ACK", WIRE, tcp(backend, node, SYN_ACK, b""), back(SYN_ACK, b"")),
                row("data", WIRE, tcp(client, vip, PSH_ACK, b"odd"), there(PSH_ACK, b"odd")),
                row("its answer", WIRE, tcp(backend, node, PSH_ACK, b"even"), back(PSH_ACK, b"even")),
                passes("the SYN again: it may be another connection's", tcp(client, vip, SYN, b"")),
            ],
        )?;
        assert_eq!(lab.xdp_sent.read()? - frames, 3);
        Ok(())
    });
}

#[test]
fn datagrams_too_with_and_without_a_checksum() {
    in_a_node(|lab, _w, o| {
        let Ends { client, vip, node, backend } = opened(lab, &o, question)?;
        let without = |mut frame: Vec<u8>| {
            let at = l4(o.node) + 6;
            frame[at..at + 2].fill(0);
            frame
        };
        send_all(
            lab,
            vec![
                row(
                    "question",
                    WIRE,
                    udp(client, vip, b"?"),
                    Translated(HandOver, sent(udp(node, backend, b"?"))),
                ),
                row(
                    "answer",
                    WIRE,
                    udp(backend, node, b"!"),
                    Translated(HandOver, sent(udp(vip, client, b"!"))),
                ),
                row(
                    "without",
                    WIRE,
                    without(udp(client, vip, b"?")),
                    Translated(HandOver, without(sent(udp(node, backend, b"?")))),
                ),
            ],
        )?;
        // A sum of 0 is written as another one, before as after.
        let sum = |frame: &[u8]| u16::from_be_bytes([frame[l4(o.node) + 6], frame[l4(o.node) + 7]]);
        for n in 0..=u16::MAX {
            let data = n.to_be_bytes();
            let (frame, wanted) = (udp(client, vip, &data), sent(udp(node, backend, &data)));
            if sum(&frame) == u16::MAX || sum(&wanted) == u16::MAX {
                ensure!(lab.send(FromWire(0), &frame)?.packet == wanted, "{data:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn entries_end_up_as_by_tc() {
    in_a_node(|lab, _w, o| {
        let mut after = Vec::new();
        for by_wire in [false, true] {
            let Ends { client, vip, node, backend } = opened(lab, &o, syn)?;
            for frame in [
                tcp(backend, node, SYN_ACK, b""),
                tcp(client, vip, PSH_ACK, b"question"),
                tcp(backend, node, PSH_ACK, b"answer"),
            ] {
                let at = if by_wire { FromWire(0) } else { FromNetdev(lab.uplink) };
                ensure!(lab.send(at, &frame)?.verdict == HandOver, "by wire: {by_wire}");
            }
            let entries = [entry(lab, client, vip, proto::TCP)?, entry(lab, node, backend, proto::TCP)?];
            after.push(entries.map(|e| (e.packets, e.bytes, e.flags >> 16, e.judged)));
            lab.connections.clear()?;
        }
        assert_eq!(after[0], after[1]);
        Ok(())
    });
}

#[test]
fn all_else_passes_untouched() {
    in_a_node(|lab, w, o| {
        let Ends { client, vip, node, backend } = opened(lab, &o, syn)?;
        let data = || tcp(client, vip, PSH_ACK, b"x");
        let mut last_hop = data();
        let hops = ETHERNET + if o.node.is_ipv4() { 8 } else { 7 };
        last_hop[hops] = 1;
        let mut tagged = data();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        let odd = if o.node.is_ipv4() {
            with_ipv4_options(&data(), &[1, 1, 1, 0])
        } else {
            extended(&data(), &[Extension { number: 60, len: 8 }])
        };
        let mut for_another = data();
        for_another[5] = 9;
        let unsound = tcp(client, vip, SYN | RST, b"");
        send_all(
            lab,
            vec![
                passes("ARP", arp()),
                passes("another client's SYN", tcp(World::at(o.client, 4001), vip, SYN, b"")),
                passes("of nobody", tcp(World::at(o.client, 4001), World::at(w.b, 9), PSH_ACK, b"")),
                passes("FIN", tcp(client, vip, FIN_ACK, b"")),
                passes("RST", tcp(backend, node, RST, b"")),
                passes("flags that contradict each other", unsound),
                passes("a SYN in the answering direction", tcp(backend, node, SYN, b"")),
                passes("a client as a backend", tcp(vip, client, PSH_ACK, b"")),
                passes("a backend as a client", tcp(node, backend, PSH_ACK, b"")),
                passes("options", odd),
                passes("a fragment", fragment(&udp(client, vip, &[7; 64]), Fragment::First, 9)),
                passes("a tag", tagged),
                passes("for another host of the network", for_another.clone()),
                passes("the last hop", last_hop),
                passes("SCTP", sctp(client, vip)),
                passes("an error", unreachable(o.elsewhere, node.ip(), &tcp(node, backend, PSH_ACK, b""))),
                passes("too large for the way", tcp(client, vip, PSH_ACK, &[7; 1600])),
            ],
        )?;
        // It was not counted either.
        assert_eq!(entry(lab, client, vip, proto::TCP)?.packets, [1, 0]);
        lab.write([Op::AdvanceEpoch])?;
        send_all(lab, vec![passes("judged under another epoch", data())])?;
        ensure!(lab.send(FromNetdev(lab.uplink), &data())?.verdict == HandOver, "judged again");
        let translated = || Translated(HandOver, sent(tcp(node, backend, PSH_ACK, b"x")));
        send_all(lab, vec![row("under this one", WIRE, data(), translated())])?;
        lab.xdp.delete(lab.uplink)?;
        send_all(lab, vec![passes("by an interface that sends no frames of others", data())])
    });
}

/// Opens a connection to a pod of this node. Frames come in by an interface that carries marks, or is not known to.
fn opened_here(
    lab: &mut Lab,
    w: &World,
    o: &Outside,
    marks: u16,
) -> Result<(SocketAddr, SocketAddr, SocketAddr)> {
    o.settle(lab, &[w.b], 1, 0)?;
    lab.xdp.put_row(LOOPBACK, WireRow { mode: wire::NATIVE, mac: OWN, marks })?;
    let (client, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
    for make in [syn, question] {
        ensure!(lab.send(FromNetdev(lab.uplink), &make(client, vip))?.verdict == HandOver, "it opens");
    }
    Ok((client, vip, World::at(w.b, 8080)))
}

#[test]
fn for_a_pod_of_this_node_all_is_done_but_the_buffer() {
    in_a_node(|lab, w, o| {
        lab.maps.set_flags(FAST_PATH, Switch::On);
        let (client, vip, pod) = opened_here(lab, &w, &o, CARRIES_MARKS)?;
        let frames = lab.xdp_sent.read()?;
        let there = |flags, data: &[u8]| Translated(Pass, tcp(client, pod, flags, data));
        let mut for_another = tcp(client, vip, PSH_ACK, b"x");
        for_another[5] = 9;
        send_all(
            lab,
            vec![
                row("data", WIRE, tcp(client, vip, PSH_ACK, b"odd"), there(PSH_ACK, b"odd")),
                row("more", WIRE, tcp(client, vip, PSH_ACK, b"even"), there(PSH_ACK, b"even")),
                row("a datagram", WIRE, question(client, vip), Translated(Pass, question(client, pod))),
            ],
        )?;
        assert_eq!(lab.xdp_sent.read()? - frames, 3);
        assert_eq!(entry(lab, client, vip, proto::TCP)?.packets, [3, 0], "the SYN among them");
        send_all(
            lab,
            vec![
                passes("the SYN again", syn(client, vip)),
                passes("FIN", tcp(client, vip, FIN_ACK, b"")),
                passes("to the pod itself", tcp(client, pod, PSH_ACK, b"x")),
                passes("for another host of the network", for_another),
            ],
        )?;
        assert_eq!(entry(lab, client, vip, proto::TCP)?.packets, [3, 0], "what passes is not counted");
        lab.maps.set_flags(FAST_PATH, Switch::Off);
        send_all(lab, vec![passes("nothing is handed over", tcp(client, vip, PSH_ACK, b"x"))])?;
        lab.maps.set_flags(FAST_PATH, Switch::On);
        lab.write([Op::AdvanceEpoch])?;
        send_all(lab, vec![passes("judged under another epoch", tcp(client, vip, PSH_ACK, b"x"))])
    });
}

#[test]
fn nothing_depends_on_marks_before_one_has_come_through() {
    in_a_node(|lab, w, o| {
        lab.maps.set_flags(FAST_PATH, Switch::On);
        let (client, vip, _) = opened_here(lab, &w, &o, 0)?;
        let frames = lab.xdp_sent.read()?;
        send_all(lab, vec![passes("data", tcp(client, vip, PSH_ACK, b"x"))])?;
        assert_eq!(lab.xdp_sent.read()?, frames);
        assert_eq!(entry(lab, client, vip, proto::TCP)?.packets, [1, 0]);
        Ok(())
    });
}

#[test]
fn what_came_in_by_an_uplink_goes_back_by_it() {
    in_a_node(|lab, _w, o| {
        let Ends { client, vip, node, backend } = opened(lab, &o, syn)?;
        // Where it came in needs no row, and its own address is known.
        lab.xdp.delete(lab.uplink)?;
        let seen = lab.send(FromWire(lab.uplink), &tcp(client, vip, PSH_ACK, b"x"))?;
        assert_eq!(seen.packet, sent(tcp(node, backend, PSH_ACK, b"x")));
        assert_eq!(seen.verdict, HandOver);
        let mut for_another = tcp(client, vip, PSH_ACK, b"x");
        for_another[5] = 9;
        send_all(lab, vec![row("for another host", FromWire(lab.uplink), for_another, Known(Pass))])
    });
}
