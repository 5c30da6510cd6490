use std::net::IpAddr;

use netpol_agent::dataplane::{Backend, Frontend, Op, SourceRange};
use netpol_common::{
    direction::Direction::Ingress,
    net::proto,
    reason::DropReason,
    service::{FrontendRow, ServiceRow, flags},
    uplink::UplinkRow,
};
use netpol_tests::packet::{
    ETHERNET,
    Hook::FromPod,
    SYN, SYN_ACK,
    Uplink::FromNetdev,
    Verdict::{self, HandOver, Pass},
    World, reset_of, tcp, udp, unreachable_of,
};

use crate::table::{
    Expect::{Counts, Drop, Known, Opens, OpensTranslated, Translated},
    row, send_all,
};

use super::{FAR, NODE_PORT, SVC, in_a_node, judged::own_address_is_judged, sent, uplink_of};

#[test]
fn policy_of_the_backend_judges_the_clients_own_address() {
    in_a_node(|lab, w, o| own_address_is_judged(lab, w, &o, 0, SYN, Drop(DropReason::Policy, Ingress)));
}

#[test]
fn source_ranges_let_in_whom_they_name() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, flags::SOURCE_RANGES)?;
        let up = lab.uplink;
        let (vip, b) = (World::at(o.node, NODE_PORT), World::at(w.b, 8080));
        let (c, other) = (World::at(o.client, 4000), World::at(w.stranger, 4000));
        let net = if o.client.is_ipv4() { "203.0.113.0/24" } else { "2001:db8::/64" };
        let range = |svc| SourceRange { svc, net: net.parse().expect("a prefix") };
        lab.write([Op::PutRange(range(SVC + 1))])?;
        let closed = row(
            "another's range",
            FromNetdev(up),
            tcp(c, vip, SYN, b""),
            Drop(DropReason::SourceRange, Ingress),
        );
        send_all(lab, vec![closed])?;
        lab.write([Op::PutRange(range(SVC))])?;
        send_all(
            lab,
            vec![
                row(
                    "within",
                    FromNetdev(up),
                    tcp(c, vip, SYN, b""),
                    OpensTranslated(HandOver, tcp(c, b, SYN, b"")),
                ),
                row(
                    "beyond",
                    FromNetdev(up),
                    tcp(other, vip, SYN, b""),
                    Drop(DropReason::SourceRange, Ingress),
                ),
            ],
        )
    });
}

#[test]
fn one_client_by_two_ways_to_one_backend_keeps_two_connections() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, vip, b) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT), World::at(w.b, 8080));
        let other = World::at(w.service, NODE_PORT);
        let frontend = Frontend { addr: w.service, port: NODE_PORT, proto: proto::TCP };
        let row_of = FrontendRow { svc: SVC, near: FAR, far: FAR, flags: flags::EXTERNAL, affinity: 0 };
        lab.write([Op::PutFrontend(frontend, row_of)])?;
        send_all(
            lab,
            vec![row(
                "first",
                FromNetdev(up),
                tcp(c, vip, SYN, b""),
                OpensTranslated(HandOver, tcp(c, b, SYN, b"")),
            )],
        )?;
        let seen = lab.send(FromNetdev(up), &tcp(c, other, SYN, b""))?;
        assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
        let l4 = ETHERNET + if o.node.is_ipv4() { 20 } else { 40 };
        let moved = World::at(o.client, u16::from_be_bytes([seen.packet[l4], seen.packet[l4 + 1]]));
        assert_eq!(seen.packet, tcp(moved, b, SYN, b""), "the client's address, and another port");
        send_all(
            lab,
            vec![
                row(
                    "answer to the second",
                    FromPod(if_b),
                    tcp(b, moved, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(other, c, SYN_ACK, b""))),
                ),
                row(
                    "answer to the first",
                    FromPod(if_b),
                    tcp(b, c, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(vip, c, SYN_ACK, b""))),
                ),
            ],
        )
    });
}

#[test]
fn source_ports_run_out_one_backend_at_a_time() {
    in_a_node(|lab, _w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        let first_port = 61_000;
        lab.uplinks.put(lab.uplink, UplinkRow { first_port, last_port: first_port, ..uplink_of(&o) })?;
        let up = lab.uplink;
        let vip = World::at(o.node, NODE_PORT);
        let from = |port| tcp(World::at(o.client, port), vip, SYN, b"");
        let neighbour = match o.client {
            IpAddr::V4(_) => [203, 0, 113, 10].into(),
            IpAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 10].into(),
        };
        let n = World::at(o.node, first_port);
        let b = World::at(o.elsewhere, 8080);
        let another = Backend { addr: o.elsewhere, port: 8081 };
        send_all(
            lab,
            vec![
                row(
                    "the only port",
                    FromNetdev(up),
                    from(1),
                    OpensTranslated(HandOver, sent(tcp(n, b, SYN, b""))),
                ),
                row("none is left", FromNetdev(up), from(2), Drop(DropReason::NoPort, Ingress)),
                row(
                    "nor for another client with the same port",
                    FromNetdev(up),
                    tcp(World::at(neighbour, 1), vip, SYN, b""),
                    Drop(DropReason::NoPort, Ingress),
                ),
                row(
                    "the first one is answered",
                    FromNetdev(up),
                    tcp(b, n, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(vip, World::at(o.client, 1), SYN_ACK, b""))),
                ),
            ],
        )?;
        lab.write([
            Op::WriteBackends { base: 200, backends: [another].into() },
            Op::PutService(FAR, ServiceRow::new(200, 0, 1).expect("in range")),
        ])?;
        let b = World::at(o.elsewhere, 8081);
        send_all(
            lab,
            vec![row(
                "to another backend it is free",
                FromNetdev(up),
                from(2),
                OpensTranslated(HandOver, sent(tcp(n, b, SYN, b""))),
            )],
        )
    });
}

#[test]
fn what_no_pod_of_this_node_can_have_sent_is_not_translated() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let up = lab.uplink;
        let (vip, a) = (World::at(o.node, NODE_PORT), World::at(w.a, 4000));
        send_all(
            lab,
            vec![
                row(
                    "under a pod's address",
                    FromNetdev(up),
                    tcp(a, vip, SYN, b""),
                    Drop(DropReason::Spoofed, Ingress),
                ),
                row(
                    "a pod to nobody's port",
                    FromPod(lab.pods[0]),
                    tcp(a, World::at(o.node, 9), SYN, b""),
                    Opens(Pass),
                ),
            ],
        )
    });
}

#[test]
fn a_client_of_nobody_is_told_and_one_of_another_node_is_not() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let up = lab.uplink;
        let (c, vip) = (World::at(o.client, 4000), World::at(o.node, NODE_PORT));
        let l4 = ETHERNET + if o.node.is_ipv4() { 20 } else { 40 };
        let (syn, datagram) = (tcp(c, vip, SYN, b""), udp(c, vip, b"12345678"));
        lab.write([Op::PutService(FAR, ServiceRow::REFUSE)])?;
        for (asked, told) in [(&syn, reset_of(&syn, l4)), (&datagram, unreachable_of(&datagram))] {
            let seen = lab.send(FromNetdev(up), asked)?;
            assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
            assert_eq!(seen.packet, sent(told));
        }
        lab.write([Op::PutService(FAR, ServiceRow::DROP)])?;
        let silent =
            |packet| row("silence", FromNetdev(up), packet, Drop(DropReason::NoLocalBackend, Ingress));
        send_all(lab, vec![silent(syn), silent(datagram)])
    });
}

#[test]
fn clients_outside_fill_their_part_of_the_table_and_no_more() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        // Room for one translated connection.
        lab.maps.limit_outside(2)?;
        let (up, vip) = (lab.uplink, World::at(o.node, NODE_PORT));
        let ask = |port| udp(World::at(o.client, port), vip, b"?");
        let first = lab.send(FromNetdev(up), &ask(1))?;
        assert_eq!(first.verdict, HandOver, "{:?}", first.counted);
        let over = |port| {
            row(
                "over",
                FromNetdev(up),
                ask(port),
                Counts(Verdict::Drop, &["table-full ingress", "over-quota"]),
            )
        };
        send_all(lab, vec![over(2), over(3)])?;
        let again = lab.send(FromNetdev(up), &ask(1))?;
        assert_eq!(again.verdict, HandOver, "who is there stays: {:?}", again.counted);
        // Others have room of their own: a pod that answers clients outside, and what pods ask.
        let (a, b) = (World::at(w.a, 4000), World::at(w.b, 8080));
        lab.write([
            Op::WriteBackends { base: 200, backends: [Backend { addr: w.b, port: 8080 }].into() },
            Op::PutService(FAR, ServiceRow::new(200, 1, 1).expect("in range")),
        ])?;
        let opened = OpensTranslated(HandOver, udp(World::at(o.client, 2), b, b"?"));
        send_all(
            lab,
            vec![
                row("to a pod of this node", FromNetdev(up), ask(2), opened),
                row("a pod", FromPod(lab.pods[0]), udp(a, World::at(o.client, 53), b"?"), Opens(Pass)),
            ],
        )
    });
}

#[test]
fn other_ports_of_a_cluster_address_are_refused_and_the_nodes_own_are_its_own() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        let up = lab.uplink;
        let whole = FrontendRow { flags: flags::WHOLE, ..FrontendRow::default() };
        lab.write([Op::PutFrontend(Frontend::whole(w.service), whole)])?;
        let c = World::at(o.client, 4000);
        let l4 = ETHERNET + if o.node.is_ipv4() { 20 } else { 40 };
        let asked = tcp(c, World::at(w.service, 81), SYN, b"");
        let seen = lab.send(FromNetdev(up), &asked)?;
        assert_eq!(seen.verdict, HandOver, "{:?}", seen.counted);
        assert_eq!(seen.packet, sent(reset_of(&asked, l4)));
        let ports = [22, 10_250, NODE_PORT + 1];
        let own =
            |port| row("its own", FromNetdev(up), tcp(c, World::at(o.node, port), SYN, b""), Known(Pass));
        send_all(lab, ports.map(own).into())?;
        let datagram =
            |port| row("its own", FromNetdev(up), udp(c, World::at(o.node, port), b"?"), Known(Pass));
        send_all(lab, ports.map(datagram).into())
    });
}
