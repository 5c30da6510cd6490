//! Fragments of datagrams: RFC 791, RFC 1858, RFC 5722, RFC 6946, RFC 7112, RFC 8200 §4.5.

use std::net::{IpAddr, SocketAddr};

use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    net::proto,
    policy::SlotId,
    reason::DropReason::{Fragment, Malformed, Policy},
};
use netpol_tests::packet::{
    Extension, Hook::FromPod, SYN, Verdict::HandOver, World, extended, open, other, slot_for_pods, tcp, udp,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

/// Where a piece lies. What first fragments leave outlives a test: each test has datagrams of its own.
#[derive(Clone, Copy)]
struct At {
    offset: u16,
    more: bool,
    id: u16,
}

fn first(id: u16) -> At {
    At { offset: 0, more: true, id }
}

fn last(offset: u16, id: u16) -> At {
    At { offset, more: false, id }
}

/// A fragment of protocol `next` that holds `data`.
fn piece(src: IpAddr, dst: IpAddr, next: u8, data: &[u8], At { offset, more, id }: At) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    if src.is_ipv4() {
        let mut packet = other(src, dst, next, data);
        let field = (offset / 8) | if more { 0x2000 } else { 0 };
        packet[18..20].copy_from_slice(&[a, b]);
        packet[20..22].copy_from_slice(&field.to_be_bytes());
        return packet;
    }
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    other(src, dst, 44, &[&[next, 0, high, low, 0, 0, a, b], data].concat())
}

/// What a datagram holds behind its network header.
fn datagram(src: SocketAddr, dst: SocketAddr, len: usize) -> Vec<u8> {
    udp(src, dst, &vec![b'x'; len - 8]).split_off(if src.is_ipv4() { 34 } else { 54 })
}

#[test]
fn each_fragment_is_judged_by_the_ports_of_the_first_one_last_seen() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let slot = SlotId(0x51);
        lab.write(slot_for_pods(slot))?;
        let flags = open().flags | flags::ISOLATED_IN;
        lab.write([Op::PutEndpoint(if_b, EndpointRow { slot_in: slot, flags, ..open() })])?;
        let a = World::at(w.a, 40_000);
        let of = |port: u16, at: At| {
            let data = datagram(a, World::at(w.b, port), 48);
            let part = if at.offset == 0 { &data[..24] } else { &data[24..] };
            piece(w.a, w.b, proto::UDP, part, at)
        };
        send_all(
            lab,
            vec![
                row(
                    "later one before its first",
                    FromPod(if_a),
                    of(53, last(24, 0x107)),
                    Drop(Fragment, Egress),
                ),
                row("first one to a denied port", FromPod(if_a), of(22, first(0x107)), Drop(Policy, Ingress)),
                row("later one of it", FromPod(if_a), of(22, last(24, 0x107)), Drop(Policy, Ingress)),
                row("first one to an allowed port", FromPod(if_a), of(53, first(0x107)), Opens(HandOver)),
                row("later one of it", FromPod(if_a), of(53, last(24, 0x107)), Known(HandOver)),
                row("of another datagram", FromPod(if_a), of(53, last(24, 0x108)), Drop(Fragment, Egress)),
                row(
                    "another first one: denied port",
                    FromPod(if_a),
                    of(22, first(0x107)),
                    Drop(Policy, Ingress),
                ),
                row("what comes then", FromPod(if_a), of(53, last(24, 0x107)), Drop(Policy, Ingress)),
            ],
        )
    });
}

#[test]
fn a_fragment_may_not_write_over_the_first_one() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let segment = tcp(World::at(w.a, 1), World::at(w.b, 80), SYN, &[0; 28]).split_off(if w.a.is_ipv4() {
            34
        } else {
            54
        });
        let of = |data: &[u8], at| piece(w.a, w.b, proto::TCP, data, at);
        send_all(
            lab,
            vec![
                row("first", FromPod(if_a), of(&segment[..32], first(0x201)), Opens(HandOver)),
                row(
                    "over the flags",
                    FromPod(if_a),
                    of(&segment[8..], last(8, 0x201)),
                    Drop(Malformed, Egress),
                ),
                row(
                    "over the end",
                    FromPod(if_a),
                    of(&segment[24..], last(24, 0x201)),
                    Drop(Malformed, Egress),
                ),
                row("right behind", FromPod(if_a), of(&segment[32..], last(32, 0x201)), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn a_first_fragment_holds_the_whole_transport_header() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let segment = tcp(World::at(w.a, 1), World::at(w.b, 80), SYN, &[0; 28]).split_off(if w.a.is_ipv4() {
            34
        } else {
            54
        });
        let mut with_options = segment.clone();
        with_options[12] = 0x80;
        let of = |data: &[u8]| piece(w.a, w.b, proto::TCP, data, first(0x301));
        send_all(
            lab,
            vec![
                row("8 bytes of TCP", FromPod(if_a), of(&segment[..8]), Drop(Malformed, Egress)),
                row("16 bytes", FromPod(if_a), of(&segment[..16]), Drop(Malformed, Egress)),
                row(
                    "options in the next one",
                    FromPod(if_a),
                    of(&with_options[..24]),
                    Drop(Malformed, Egress),
                ),
                row("all of it", FromPod(if_a), of(&segment[..24]), Opens(HandOver)),
            ],
        )
    });
}

#[test]
fn fragments_that_no_datagram_has_are_malformed() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let data = datagram(World::at(w.a, 1), World::at(w.b, 53), 64);
        let of = |data: &[u8], at| piece(w.a, w.b, proto::UDP, data, at);
        let middle = At { offset: 24, more: true, id: 0x401 };
        send_all(
            lab,
            vec![
                row("first", FromPod(if_a), of(&data[..24], first(0x401)), Opens(HandOver)),
                row("empty", FromPod(if_a), of(&[], last(24, 0x401)), Drop(Malformed, Egress)),
                row("uneven, and not the last", FromPod(if_a), of(&[0; 12], middle), Drop(Malformed, Egress)),
                row(
                    "behind 65535 bytes",
                    FromPod(if_a),
                    of(&[0; 64], last(0xfff8, 0x401)),
                    Drop(Malformed, Egress),
                ),
                row("up to them", FromPod(if_a), of(&[0; 16], last(0xfff8 - 64, 0x401)), Known(HandOver)),
                row("uneven, and the last", FromPod(if_a), of(&[0; 13], last(24, 0x401)), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn protocols_without_ports_are_fragmented_like_any() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let of = |at| piece(w.a, w.b, 47, &[0; 16], at);
        send_all(
            lab,
            vec![
                row("later one before its first", FromPod(if_a), of(last(16, 0x501)), Drop(Fragment, Egress)),
                row("first", FromPod(if_a), of(first(0x501)), Opens(HandOver)),
                row("later", FromPod(if_a), of(last(16, 0x501)), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn ipv6_fragment_headers_mean_what_the_first_one_says() {
    in_both_families(|lab, w| {
        if w.a.is_ipv4() {
            return Ok(());
        }
        let if_a = lab.pods[0];
        let (a, b) = (World::at(w.a, 1), World::at(w.b, 53));
        let data = datagram(a, b, 40);
        let behind_options = [&[17, 0, 0, 0, 0, 0, 0, 0][..], &data[..24]].concat();
        let atomic = At { offset: 0, more: false, id: 0x609 };
        let fragment = Extension { number: 44, len: 8 };
        send_all(
            lab,
            vec![
                row(
                    "options",
                    FromPod(if_a),
                    piece(w.a, w.b, 60, &behind_options, first(0x601)),
                    Opens(HandOver),
                ),
                row(
                    "later one of it",
                    FromPod(if_a),
                    piece(w.a, w.b, 60, &data[24..], last(32, 0x601)),
                    Known(HandOver),
                ),
                row(
                    "one that says TCP",
                    FromPod(if_a),
                    piece(w.a, w.b, 6, &data[24..], last(32, 0x601)),
                    Known(HandOver),
                ),
                row("atomic", FromPod(if_a), piece(w.a, w.b, 17, &data, atomic), Known(HandOver)),
                row(
                    "it leaves nothing",
                    FromPod(if_a),
                    piece(w.a, w.b, 17, &data, last(40, 0x609)),
                    Drop(Fragment, Egress),
                ),
                row(
                    "fragment of a fragment",
                    FromPod(if_a),
                    extended(&udp(a, b, b""), &[fragment, fragment]),
                    Drop(Malformed, Egress),
                ),
                row(
                    "neighbour discovery",
                    FromPod(if_a),
                    piece(w.a, w.b, 58, &[135, 0, 0, 0, 0, 0, 0, 0], atomic),
                    Drop(Malformed, Egress),
                ),
            ],
        )
    });
}
