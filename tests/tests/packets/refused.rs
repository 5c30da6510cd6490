//! Clients of Services that nobody answers for.

use std::net::IpAddr;

use ipnet::IpNet;
use netpol_agent::dataplane::{Frontend, Op};
use netpol_common::{
    direction::Direction::Egress,
    endpoint::{EndpointRow, flags},
    peer::PeerRow,
    policy::SlotId,
    reason::DropReason::{NoBackend, NoLocalBackend, NoService, Spoofed},
    service::{self, FrontendRow, ServiceRow},
};
use netpol_tests::packet::{
    ETHERNET, Extension, FIN_ACK, Fragment,
    Hook::FromPod,
    Lab, PSH_ACK, RST, SYN,
    Verdict::{self, Pass},
    World, echo_request, extended, fragment, open, other, reset_of, sctp, tcp, udp, unreachable_of,
    with_ipv4_options,
};

use crate::table::{
    Expect::{Drop, Known, Opens, Refused},
    in_both_families, row, send_all,
};

/// Where a transport header begins without options.
fn l4(w: &World) -> usize {
    ETHERNET + if w.a.is_ipv4() { 20 } else { 40 }
}

/// Makes `backends` of the world's Service.
fn becomes(lab: &mut Lab, w: &World, backends: ServiceRow) -> anyhow::Result<()> {
    lab.write([Op::PutService(if w.a.is_ipv4() { 1 } else { 2 }, backends)])
}

fn whole(addr: IpAddr) -> Op {
    let row = FrontendRow { flags: service::flags::WHOLE, ..FrontendRow::default() };
    Op::PutFrontend(Frontend { addr, port: 0, proto: 0 }, row)
}

#[test]
fn a_service_without_backends_refuses_as_a_closed_port_does() {
    in_both_families(|lab, w| {
        becomes(lab, &w, ServiceRow::REFUSE)?;
        let (if_a, vip) = (lab.pods[0], World::at(w.service, 80));
        let a = |port| World::at(w.a, port);
        let segment = |name: &'static str, packet: Vec<u8>| {
            let reset = reset_of(&packet, l4(&w));
            row(name, FromPod(if_a), packet, Refused(reset))
        };
        let datagram = |name: &'static str, packet: Vec<u8>| {
            let error = unreachable_of(&packet);
            row(name, FromPod(if_a), packet, Refused(error))
        };
        let mut wrapping = tcp(a(6), vip, FIN_ACK, b"x");
        let sequence = l4(&w) + 4;
        wrapping[sequence..sequence + 8].copy_from_slice(&[0xff; 8]);
        send_all(
            lab,
            vec![
                segment("SYN", tcp(a(1), vip, SYN, b"")),
                segment("the same SYN again: nothing is remembered", tcp(a(1), vip, SYN, b"")),
                segment("SYN with data (RFC 7413)", tcp(a(2), vip, SYN, b"early")),
                segment("a segment of a connection that was", tcp(a(3), vip, PSH_ACK, b"data")),
                segment("the end of one", tcp(a(4), vip, FIN_ACK, b"")),
                segment("numbers at their end", wrapping),
                row("a reset", FromPod(if_a), tcp(a(5), vip, RST, b""), Drop(NoBackend, Egress)),
                datagram("UDP", udp(a(1), vip, b"question")),
                datagram("UDP without data", udp(a(1), vip, b"")),
                datagram("of odd length", udp(a(1), vip, b"odd")),
                datagram("longer than is quoted", udp(a(1), vip, &[0x55; 1400])),
                datagram("first of fragments", fragment(&udp(a(1), vip, &[7; 64]), Fragment::First, 9)),
                row(
                    "a later one",
                    FromPod(if_a),
                    fragment(&udp(a(1), vip, &[7; 64]), Fragment::Later, 9),
                    Drop(NoBackend, Egress),
                ),
            ],
        )
    });
}

#[test]
fn packets_with_options_are_refused_as_well() {
    in_both_families(|lab, w| {
        becomes(lab, &w, ServiceRow::REFUSE)?;
        let (a, vip, if_a) = (World::at(w.a, 1), World::at(w.service, 80), lab.pods[0]);
        let (longer, by) = match w.a {
            IpAddr::V4(_) => (with_ipv4_options as fn(&[u8], &[u8]) -> Vec<u8>, 8),
            IpAddr::V6(_) => {
                let options = |packet: &[u8], bytes: &[u8]| {
                    extended(packet, &[Extension { number: 60, len: bytes.len() }])
                };
                (options as fn(&[u8], &[u8]) -> Vec<u8>, 8)
            }
        };
        let options = [1; 8];
        let segment = longer(&tcp(a, vip, SYN, b"x"), &options);
        let datagram = longer(&udp(a, vip, b"x"), &options);
        let (reset, error) = (reset_of(&segment, l4(&w) + by), unreachable_of(&datagram));
        send_all(
            lab,
            vec![
                row("TCP", FromPod(if_a), segment, Refused(reset)),
                row("UDP", FromPod(if_a), datagram, Refused(error)),
            ],
        )
    });
}

#[test]
fn no_policy_has_a_say_in_a_refusal_but_only_a_pods_own_address_is_answered() {
    in_both_families(|lab, w| {
        becomes(lab, &w, ServiceRow::REFUSE)?;
        let if_a = lab.pods[0];
        let flags = open().flags | flags::ISOLATED_IN | flags::ISOLATED_OUT;
        lab.write([Op::PutEndpoint(
            if_a,
            EndpointRow { slot_in: SlotId(1), slot_out: SlotId(2), flags, ..open() },
        )])?;
        let from = |addr| tcp(World::at(addr, 1), World::at(w.service, 80), SYN, b"");
        send_all(
            lab,
            vec![
                row("isolated", FromPod(if_a), from(w.a), Refused(reset_of(&from(w.a), l4(&w)))),
                row("another's address", FromPod(if_a), from(w.b), Drop(Spoofed, Egress)),
            ],
        )
    });
}

#[test]
fn a_service_with_backends_elsewhere_only_drops_in_silence() {
    in_both_families(|lab, w| {
        becomes(lab, &w, ServiceRow::DROP)?;
        let (a, vip, if_a) = (World::at(w.a, 1), World::at(w.service, 80), lab.pods[0]);
        send_all(
            lab,
            vec![
                row("TCP", FromPod(if_a), tcp(a, vip, SYN, b""), Drop(NoLocalBackend, Egress)),
                row("UDP", FromPod(if_a), udp(a, vip, b""), Drop(NoLocalBackend, Egress)),
            ],
        )
    });
}

#[test]
fn other_ports_of_a_services_address_are_refused_and_a_ping_of_it_too() {
    in_both_families(|lab, w| {
        lab.write([whole(w.service)])?;
        let (a, if_a) = (World::at(w.a, 1), lab.pods[0]);
        let closed = World::at(w.service, 81);
        let syn = tcp(a, closed, SYN, b"");
        let late = tcp(World::at(w.a, 2), closed, PSH_ACK, b"data");
        let error = |name: &'static str, packet: Vec<u8>| {
            let answer = unreachable_of(&packet);
            row(name, FromPod(if_a), packet, Refused(answer))
        };
        send_all(
            lab,
            vec![
                row("TCP", FromPod(if_a), syn.clone(), Refused(reset_of(&syn, l4(&w)))),
                row("mid-flow", FromPod(if_a), late.clone(), Refused(reset_of(&late, l4(&w)))),
                error("UDP", udp(a, closed, b"?")),
                error("SCTP", sctp(a, World::at(w.service, 80))),
                error("ping", echo_request(w.a, w.service, 7)),
                // GRE has no ports that could be unreachable.
                row("GRE", FromPod(if_a), other(w.a, w.service, 47, &[0; 8]), Drop(NoBackend, Egress)),
            ],
        )?;
        let seen = lab.send(FromPod(if_a), &tcp(a, World::at(w.service, 80), SYN, b""))?;
        assert_eq!(seen.verdict, Verdict::HandOver, "its own port goes on: {:?}", seen.counted);
        Ok(())
    });
}

#[test]
fn addresses_that_no_service_has_are_dropped_and_pods_among_them_are_not() {
    in_both_families(|lab, w| {
        let len = if w.a.is_ipv4() { 24 } else { 64 };
        lab.write([Op::PutServiceNet(IpNet::new(w.service, len)?.trunc()), whole(w.service)])?;
        let (a, if_a) = (World::at(w.a, 1), lab.pods[0]);
        let outside: IpAddr = match w.a {
            IpAddr::V4(_) => [203, 0, 113, 9].into(),
            IpAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9].into(),
        };
        let syn = |to: IpAddr| tcp(a, World::at(to, 81), SYN, b"");
        let refused = reset_of(&syn(w.service), l4(&w));
        send_all(
            lab,
            vec![
                row("nobody's", FromPod(if_a), syn(w.stranger), Drop(NoService, Egress)),
                row(
                    "nobody's, mid-flow",
                    FromPod(if_a),
                    tcp(a, World::at(w.stranger, 81), PSH_ACK, b""),
                    Drop(NoService, Egress),
                ),
                row("ping", FromPod(if_a), echo_request(w.a, w.stranger, 7), Drop(NoService, Egress)),
                row("a Service's", FromPod(if_a), syn(w.service), Refused(refused)),
                row("another pod's", FromPod(if_a), syn(w.remote), Opens(Pass)),
                row("from outside of it", FromPod(if_a), syn(outside), Opens(Pass)),
                row("goes on", FromPod(if_a), syn(outside), Known(Pass)),
            ],
        )
    });
}

#[test]
fn a_pod_is_sent_only_so_many_errors_and_every_reset() {
    in_both_families(|lab, w| {
        becomes(lab, &w, ServiceRow::REFUSE)?;
        // A pod of its own: what it has used up is not the other tests'.
        let (if_c, if_b) = (lab.pods[2], lab.pods[1]);
        lab.write([
            Op::PutPeer(w.stranger, PeerRow { ifindex: if_c, ..PeerRow::default() }),
            Op::PutEndpoint(if_c, open()),
        ])?;
        let (c, b, vip) = (World::at(w.stranger, 1), World::at(w.b, 1), World::at(w.service, 80));
        let mut told = true;
        // A hundred at once, and a hundred more each second, even if every packet took some milliseconds.
        for _ in 0..10_000 {
            let seen = lab.send(FromPod(if_c), &udp(c, vip, b"?"))?;
            if seen.verdict == Verdict::Drop {
                assert_eq!(seen.counted.get("unrefused"), Some(&1), "{:?}", seen.counted);
                assert_eq!(seen.counted.get("no-backend egress"), Some(&1), "{:?}", seen.counted);
                told = false;
                break;
            }
            lab.drain();
        }
        assert!(!told, "each of ten thousand datagrams was answered");
        let syn = tcp(c, vip, SYN, b"");
        send_all(lab, vec![row("a reset", FromPod(if_c), syn.clone(), Refused(reset_of(&syn, l4(&w))))])?;
        let others = udp(b, vip, b"?");
        let answer = unreachable_of(&others);
        send_all(lab, vec![row("another pod has its own measure", FromPod(if_b), others, Refused(answer))])?;
        Ok(())
    });
}
