//! Lengths, addresses and protocols: which shapes of a packet are taken, and as what.

use std::net::IpAddr;

use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    net::proto,
    policy::{ClassId, PolicyKey, PolicyRow, PortSetId, RuleId, SlotId},
    reason::DropReason::{Malformed, Policy, Spoofed},
};
use netpol_tests::packet::{
    Hook::{FromPod, ToPod},
    Lab, SYN,
    Verdict::{HandOver, Pass},
    World, open, other, sctp, tcp, udp,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

const SLOT: SlotId = SlotId(0x71);

fn transport(w: World) -> usize {
    if w.a.is_ipv4() { 34 } else { 54 }
}

/// The packet with two bytes replaced.
fn with(packet: &[u8], at: usize, value: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
    packet
}

/// Isolates the pod for what it receives, but for `any` of everybody's packets.
fn isolate(lab: &mut Lab, ifindex: u32, any: RuleId) -> anyhow::Result<()> {
    let none = PolicyRow { any, ports: PortSetId(0), tcp: 0, udp: 0, sctp: 0, pad: 0 };
    let allows = if any == RuleId::NONE { 0 } else { flags::ANY_IN };
    let flags = open().flags | flags::ISOLATED_IN | allows;
    lab.write([
        Op::PutPolicy(PolicyKey { slot: SLOT, class: ClassId::ANY }, none),
        Op::PutEndpoint(ifindex, EndpointRow { slot_in: SLOT, flags, ..open() }),
        Op::AdvanceEpoch,
    ])
}

#[test]
fn lengths_agree_or_the_packet_is_malformed() {
    in_both_families(|lab, w| {
        let (if_a, l4) = (lab.pods[0], transport(w));
        let datagram = udp(World::at(w.a, 1), World::at(w.b, 53), b"sixteen bytes ok");
        let malformed = || Drop(Malformed, Egress);
        let short = |protocol, len: usize| other(w.a, w.b, protocol, &vec![8; len]);
        let icmp = if w.a.is_ipv4() { proto::ICMP } else { proto::ICMPV6 };
        send_all(
            lab,
            vec![
                row("UDP length 0", FromPod(if_a), with(&datagram, l4 + 4, 0), malformed()),
                row("UDP length 7", FromPod(if_a), with(&datagram, l4 + 4, 7), malformed()),
                row("UDP length behind the end", FromPod(if_a), with(&datagram, l4 + 4, 25), malformed()),
                row("UDP with surplus", FromPod(if_a), with(&datagram, l4 + 4, 12), Opens(HandOver)),
                row("padded frame", FromPod(if_a), [&datagram[..], &[0; 9]].concat(), Known(HandOver)),
                row("7 bytes of UDP", FromPod(if_a), short(proto::UDP, 7), malformed()),
                row("19 bytes of TCP", FromPod(if_a), short(proto::TCP, 19), malformed()),
                row("11 bytes of SCTP", FromPod(if_a), short(proto::SCTP, 11), malformed()),
                row("7 bytes of ICMP", FromPod(if_a), short(icmp, 7), malformed()),
                row("nothing at all", FromPod(if_a), short(proto::TCP, 0), malformed()),
                row(
                    "header in the padding",
                    FromPod(if_a),
                    [&short(proto::UDP, 0)[..], &datagram[l4..]].concat(),
                    malformed(),
                ),
            ],
        )
    });
}

#[test]
fn protocols_without_ports_pass_by_rules_without_ports() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        // IGMP, IP in IP, IPv6 in IP, GRE, ESP, no next header, UDP-Lite, and the other family's ICMP.
        let foreign = if w.a.is_ipv4() { proto::ICMPV6 } else { proto::ICMP };
        let mut protocols = vec![2, 4, 41, 47, 50, 59, 136, foreign];
        if w.a.is_ipv4() {
            protocols.push(51);
        }
        for protocol in protocols {
            // Its first byte would be a neighbour solicitation.
            let packet = other(w.a, w.b, protocol, &[135, 0, 0, 80, 0, 12, 0, 0, 0, 0, 0, 0]);
            let name = format!("protocol {protocol}");
            isolate(lab, if_b, RuleId::NONE)?;
            send_all(lab, vec![row(&name, FromPod(if_a), packet.clone(), Drop(Policy, Ingress))])?;
            isolate(lab, if_b, RuleId(RuleId::HASHED | 1))?;
            send_all(lab, vec![row(&name, FromPod(if_a), packet, Opens(HandOver))])?;
        }
        Ok(())
    });
}

#[test]
fn what_is_below_policy_in_one_family_is_not_in_the_other() {
    in_both_families(|lab, w| {
        let (if_b, uplink) = (lab.pods[1], lab.uplink);
        isolate(lab, if_b, RuleId::NONE)?;
        let (server, client, foreign) =
            if w.a.is_ipv4() { (547, 546, proto::ICMPV6) } else { (67, 68, proto::ICMP) };
        let answer = udp(World::at(w.stranger, server), World::at(w.b, client), b"");
        let discovery = other(w.stranger, w.b, foreign, &[135, 0, 0, 0, 0, 0, 0, 0]);
        send_all(
            lab,
            vec![
                row("DHCP answer", ToPod(if_b, uplink), answer, Drop(Policy, Ingress)),
                row("neighbour discovery", ToPod(if_b, uplink), discovery, Drop(Policy, Ingress)),
            ],
        )
    });
}

#[test]
fn every_sctp_packet_has_ports() {
    in_both_families(|lab, w| {
        let (if_a, l4) = (lab.pods[0], transport(w));
        let init = sctp(World::at(w.a, 1), World::at(w.b, 3868));
        let chunk = |kind: u8| {
            let mut packet = init.clone();
            packet[l4 + 12] = kind;
            packet
        };
        send_all(
            lab,
            vec![
                row("INIT", FromPod(if_a), init.clone(), Opens(HandOver)),
                row("DATA", FromPod(if_a), with(&chunk(0), l4 + 4, 7), Known(HandOver)),
                row("ABORT", FromPod(if_a), with(&chunk(6), l4 + 4, 7), Known(HandOver)),
                row("DATA without a tag", FromPod(if_a), chunk(0), Known(HandOver)),
                row(
                    "another port",
                    FromPod(if_a),
                    sctp(World::at(w.a, 2), World::at(w.b, 3868)),
                    Opens(HandOver),
                ),
            ],
        )
    });
}

#[test]
fn no_packet_comes_from_an_address_that_is_nobody_s() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let nobody: &[&str] = if w.a.is_ipv4() {
            &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"]
        } else {
            &["::", "::1", "ff02::1"]
        };
        let (servers, ports): (IpAddr, _) = if w.a.is_ipv4() {
            ("255.255.255.255".parse()?, (68, 67))
        } else {
            ("ff02::1:2".parse()?, (546, 547))
        };
        for addr in nobody {
            let src: IpAddr = addr.parse()?;
            let syn = tcp(World::at(src, 1), World::at(w.b, 2), SYN, b"");
            let dhcp = udp(World::at(src, ports.0), World::at(servers, ports.1), b"");
            // A client that has no address yet.
            let expect = if src.is_unspecified() { Known(Pass) } else { Drop(Malformed, Egress) };
            send_all(
                lab,
                vec![
                    row(addr, FromPod(if_a), syn, Drop(Spoofed, Egress)),
                    row(addr, FromPod(if_a), dhcp, expect),
                ],
            )?;
        }
        if w.a.is_ipv6() {
            let unspecified: IpAddr = "::".parse()?;
            let detection = other(unspecified, "ff02::1:ff00:a".parse()?, 58, &[135, 0, 0, 0, 0, 0, 0, 0]);
            send_all(lab, vec![row("duplicate detection", FromPod(if_a), detection, Known(Pass))])?;
        }
        Ok(())
    });
}

#[test]
fn mapped_addresses_and_far_listeners_are_malformed() {
    in_both_families(|lab, w| {
        if w.a.is_ipv4() {
            return Ok(());
        }
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        let mapped: IpAddr = "::ffff:10.244.1.11".parse()?;
        let report = |hop_limit: u8| {
            let mut packet =
                other(w.a, "ff02::16".parse().expect("address"), 58, &[143, 0, 0, 0, 0, 0, 0, 0]);
            packet[21] = hop_limit;
            packet
        };
        send_all(
            lab,
            vec![
                row(
                    "mapped destination",
                    FromPod(if_a),
                    tcp(World::at(w.a, 1), World::at(mapped, 2), SYN, b""),
                    Drop(Malformed, Egress),
                ),
                row(
                    "mapped source",
                    ToPod(if_b, uplink),
                    tcp(World::at(mapped, 1), World::at(w.b, 2), SYN, b""),
                    Drop(Malformed, Ingress),
                ),
                row("listener report", FromPod(if_a), report(1), Known(Pass)),
                row("that could be routed", FromPod(if_a), report(2), Drop(Malformed, Egress)),
            ],
        )
    });
}

#[test]
fn multicast_and_broadcast_are_judged_as_any_destination() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let group: IpAddr = if w.a.is_ipv4() { "239.1.2.3".parse()? } else { "ff05::123".parse()? };
        let packet = udp(World::at(w.a, 1), World::at(group, 5353), b"");
        send_all(lab, vec![row("open", FromPod(if_a), packet.clone(), Opens(Pass))])?;
        let flags = open().flags | flags::ISOLATED_OUT;
        lab.write([
            Op::PutEndpoint(if_a, EndpointRow { slot_out: SlotId(9), flags, ..open() }),
            Op::AdvanceEpoch,
        ])?;
        send_all(lab, vec![row("isolated", FromPod(if_a), packet, Drop(Policy, Egress))])
    });
}
