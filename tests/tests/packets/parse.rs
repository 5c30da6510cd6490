use anyhow::Result;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    reason::DropReason::{Ethertype, Malformed, Spoofed, TooDeep},
};
use netpol_tests::packet::{
    Extension,
    Hook::{FromPod, ToPod},
    Lab, SYN,
    Verdict::{HandOver, Pass},
    World, arp, extended, icmp_error, other, tcp, udp, with_ipv4_options,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

/// The packet with one byte replaced.
fn with_byte(packet: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at] = byte;
    packet
}

#[test]
fn what_is_below_policy_passes() {
    in_both_families(|lab, w| {
        let (if_a, uplink) = (lab.pods[2], lab.uplink);
        let mut rows = vec![row("ARP of a pending pod", FromPod(if_a), arp(), Known(Pass))];
        let solicitation =
            icmp_error(w.a, w.b, 135, 0, [0; 4], &tcp(World::at(w.a, 1), World::at(w.b, 2), SYN, b""));
        let dhcp =
            |src: &str, dst: &str| udp(src.parse().expect("address"), dst.parse().expect("address"), b"");
        if w.a.is_ipv6() {
            rows.push(row("neighbour discovery", FromPod(if_a), solicitation, Known(Pass)));
            rows.push(row("DHCPv6", FromPod(if_a), dhcp("[fe80::1]:546", "[ff02::1:2]:547"), Known(Pass)));
            rows.push(row(
                "DHCPv6 answer",
                ToPod(if_a, uplink),
                dhcp("[fe80::2]:547", "[fe80::1]:546"),
                Known(Pass),
            ));
        } else {
            rows.push(row("DHCP", FromPod(if_a), dhcp("0.0.0.0:68", "255.255.255.255:67"), Known(Pass)));
            rows.push(row(
                "DHCP answer",
                ToPod(if_a, uplink),
                dhcp("10.244.1.1:67", "255.255.255.255:68"),
                Known(Pass),
            ));
        }
        send_all(lab, rows)
    });
}

#[test]
fn the_dhcp_port_is_no_way_round() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (client, server) = if w.a.is_ipv4() { (68, 67) } else { (546, 547) };
        let packet = udp(World::at(w.a, client), World::at(w.b, server), b"");
        send_all(
            lab,
            vec![
                row("unicast is judged", FromPod(if_a), packet.clone(), Opens(HandOver)),
                row("and must be the pod's", FromPod(if_b), packet, Drop(Spoofed, Egress)),
            ],
        )
    });
}

#[test]
fn headers_that_contradict_themselves_are_dropped() {
    in_both_families(|lab, w| {
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        let syn = tcp(World::at(w.a, 1), World::at(w.b, 2), SYN, b"");
        let datagram = udp(World::at(w.a, 1), World::at(w.b, 2), b"");
        let l4 = if w.a.is_ipv4() { 34 } else { 54 };
        let malformed = || Drop(Malformed, Egress);
        let mut rows = vec![
            row("wrong version", FromPod(if_a), with_byte(&syn, 14, 0x95), malformed()),
            row("TCP header of 16 bytes", FromPod(if_a), with_byte(&syn, l4 + 12, 0x40), malformed()),
            row(
                "TCP header longer than the packet",
                FromPod(if_a),
                with_byte(&syn, l4 + 12, 0xf0),
                malformed(),
            ),
            row("cut in the TCP header", FromPod(if_a), cut(&syn, l4 + 12), malformed()),
            row("cut in the UDP header", FromPod(if_a), cut(&datagram, l4 + 4), malformed()),
            row("longer than the frame", FromPod(if_a), syn[..syn.len() - 4].to_vec(), malformed()),
            row(
                "VLAN tag",
                FromPod(if_a),
                [&syn[..12], &[0x81, 0, 0, 5], &syn[12..]].concat(),
                Drop(Ethertype, Egress),
            ),
            row("something else", ToPod(if_b, uplink), with_byte(&syn, 13, 0x11), Drop(Ethertype, Ingress)),
        ];
        if w.a.is_ipv4() {
            rows.push(row("IHL of 4", FromPod(if_a), with_byte(&syn, 14, 0x44), malformed()));
            rows.push(row("IHL behind the end", FromPod(if_a), with_byte(&syn, 14, 0x4f), malformed()));
        } else {
            let hops = other(w.a, w.b, 58, &[135, 0, 0, 0, 0, 0, 0, 0]);
            rows.push(row(
                "routed neighbour discovery",
                FromPod(if_a),
                with_byte(&hops, 21, 64),
                malformed(),
            ));
        }
        send_all(lab, rows)
    });
}

/// The packet cut to `len` bytes, its IP header agreeing.
fn cut(packet: &[u8], len: usize) -> Vec<u8> {
    let mut packet = packet[..len].to_vec();
    let (at, value) = if packet[12..14] == [8, 0] { (16, len - 14) } else { (18, len - 54) };
    packet[at..at + 2].copy_from_slice(&u16::try_from(value).expect("short packet").to_be_bytes());
    packet
}

#[test]
fn options_and_extension_headers_are_walked() {
    in_both_families(|lab, w| if w.a.is_ipv4() { ipv4_options(lab, w) } else { ipv6_extensions(lab, w) });
}

fn ipv4_options(lab: &mut Lab, w: World) -> Result<()> {
    let if_a = lab.pods[0];
    let syn = |port| tcp(World::at(w.a, port), World::at(w.b, 8080), SYN, b"");
    send_all(
        lab,
        vec![
            row("no operation", FromPod(if_a), with_ipv4_options(&syn(1), &[1; 4]), Opens(HandOver)),
            row("as long as can be", FromPod(if_a), with_ipv4_options(&syn(2), &[1; 40]), Opens(HandOver)),
            row("the ports were read", FromPod(if_a), syn(2), Known(HandOver)),
        ],
    )
}

fn ipv6_extensions(lab: &mut Lab, w: World) -> Result<()> {
    let if_a = lab.pods[0];
    let syn = |port| tcp(World::at(w.a, port), World::at(w.b, 8080), SYN, b"");
    let chain = |numbers: &[u8]| -> Vec<Extension> {
        numbers.iter().map(|&number| Extension { number, len: 16 }).collect()
    };
    send_all(
        lab,
        vec![
            row("hop-by-hop", FromPod(if_a), extended(&syn(1), &chain(&[0])), Opens(HandOver)),
            row("many", FromPod(if_a), extended(&syn(2), &chain(&[0, 60, 43, 51, 60])), Opens(HandOver)),
            row("the ports were read", FromPod(if_a), syn(2), Known(HandOver)),
            row("too many", FromPod(if_a), extended(&syn(3), &chain(&[60; 9])), Drop(TooDeep, Egress)),
        ],
    )
}
