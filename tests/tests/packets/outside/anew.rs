//! Clients from outside that go on under the same addresses and ports when their backend is another.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use netpol_agent::dataplane::{Backend, Member, Op};
use netpol_common::service::ServiceRow;
use netpol_tests::packet::{
    ETHERNET, Hook::FromPod, Lab, PSH_ACK, SYN, SYN_ACK, Uplink::FromNetdev, Verdict::HandOver, World, tcp,
    udp,
};

use crate::table::{
    Expect::{OpensTranslated, Translated},
    row, send_all,
};

use super::{FAR, NODE_PORT, SVC, in_a_node, sent};

fn member(addr: IpAddr) -> Member {
    Member { svc: SVC, backend: Backend { addr, port: 8080 } }
}

/// From now on new connections get this one, which is on this node or not.
fn chosen_is(lab: &mut Lab, addr: IpAddr, local: u32) -> Result<()> {
    lab.write([
        Op::WriteBackends { base: 150, backends: [member(addr).backend].into() },
        Op::PutService(FAR, ServiceRow::new(150, local, 1).expect("in range")),
        Op::PutMember(member(addr)),
        Op::AdvanceEpoch,
    ])
}

fn is_gone(lab: &mut Lab, addr: IpAddr) -> Result<()> {
    lab.write([Op::DeleteMember(member(addr)), Op::AdvanceEpoch])
}

/// Sends a packet that goes to another node; where that believes it comes from.
fn goes_elsewhere(lab: &mut Lab, packet: &[u8], node: IpAddr, to: SocketAddr) -> Result<SocketAddr> {
    let seen = lab.send(FromNetdev(lab.uplink), packet)?;
    assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
    let l4 = ETHERNET + if node.is_ipv4() { 20 } else { 40 };
    let port = |at: usize| u16::from_be_bytes([seen.packet[at], seen.packet[at + 1]]);
    assert_eq!(port(l4 + 2), to.port());
    Ok(World::at(node, port(l4)))
}

#[test]
fn datagrams_follow_the_backends_between_nodes() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
        let (b, far) = (World::at(w.b, 8080), World::at(o.elsewhere, 8080));
        let asks = |name, expect| row(name, FromNetdev(up), udp(c, vip, b"?"), expect);
        chosen_is(lab, o.elsewhere, 0)?;
        let n = goes_elsewhere(lab, &udp(c, vip, b"?"), o.node, far)?;
        chosen_is(lab, w.b, 1)?;
        send_all(lab, vec![asks("it drains", Translated(HandOver, sent(udp(n, far, b"?"))))])?;
        is_gone(lab, o.elsewhere)?;
        let answer = udp(b, c, b"!");
        send_all(
            lab,
            vec![
                asks("it is gone", OpensTranslated(HandOver, udp(c, b, b"?"))),
                asks("and again", Translated(HandOver, udp(c, b, b"?"))),
                row("answer", FromPod(if_b), answer, Translated(HandOver, sent(udp(vip, c, b"!")))),
            ],
        )?;
        chosen_is(lab, o.elsewhere, 0)?;
        is_gone(lab, w.b)?;
        let n = goes_elsewhere(lab, &udp(c, vip, b"?"), o.node, far)?;
        let back = udp(far, n, b"!");
        send_all(
            lab,
            vec![row("answer", FromNetdev(up), back, Translated(HandOver, sent(udp(vip, c, b"!"))))],
        )
    });
}

#[test]
fn tcp_lives_on_with_a_backend_that_is_gone_and_a_syn_gets_another() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
        let (b, far) = (World::at(w.b, 8080), World::at(o.elsewhere, 8080));
        let syn = |name, expect| row(name, FromNetdev(up), tcp(c, vip, SYN, b""), expect);
        let data = || {
            let there = tcp(c, b, PSH_ACK, b"x");
            row("data", FromNetdev(up), tcp(c, vip, PSH_ACK, b"x"), Translated(HandOver, there))
        };
        let answer = || {
            let back = sent(tcp(vip, c, SYN_ACK, b""));
            row("SYN ACK", FromPod(if_b), tcp(b, c, SYN_ACK, b""), Translated(HandOver, back))
        };
        chosen_is(lab, w.b, 1)?;
        let opens = tcp(c, b, SYN, b"");
        send_all(
            lab,
            vec![
                syn("SYN", OpensTranslated(HandOver, opens.clone())),
                syn("SYN once more", Translated(HandOver, opens)),
                answer(),
                data(),
            ],
        )?;
        chosen_is(lab, o.elsewhere, 0)?;
        is_gone(lab, w.b)?;
        send_all(lab, vec![data()])?;
        // Judged under this epoch, so nothing but the SYN says that the client has begun anew.
        let n = goes_elsewhere(lab, &tcp(c, vip, SYN, b""), o.node, far)?;
        let more = row(
            "data to the new one",
            FromNetdev(up),
            tcp(c, vip, PSH_ACK, b"x"),
            Translated(HandOver, sent(tcp(n, far, PSH_ACK, b"x"))),
        );
        send_all(lab, vec![more])
    });
}
