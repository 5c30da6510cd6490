use std::net::IpAddr;

use anyhow::{Result, bail, ensure};
use netpol_common::net::proto;

/// The internet checksum (RFC 1071) over `parts`, each of even length but the last.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The pseudo header of TCP, UDP and ICMPv6.
pub(super) fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).expect("a packet is shorter than 4 GiB");
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            [&src.octets()[..], &dst.octets(), &[0, protocol], &(len as u16).to_be_bytes()].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            [&src.octets()[..], &dst.octets(), &len.to_be_bytes(), &[0, 0, 0, protocol]].concat()
        }
        _ => panic!("{src} and {dst} are of different families"),
    }
}

/// Checks every checksum of an unfragmented packet without extension headers: what a receiver would do.
///
/// # Errors
/// Names the checksum that is wrong.
pub fn verify(packet: &[u8]) -> Result<()> {
    let (src, dst, protocol, l4) = match packet.get(12..14) {
        Some([0x08, 0x00]) => {
            let header_len = usize::from(packet[14] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([packet[16], packet[17]]));
            ensure!(checksum(&[&packet[14..14 + header_len]]) == 0, "IPv4 header checksum");
            let addr =
                |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"));
            (addr(26), addr(30), packet[23], &packet[14 + header_len..14 + total])
        }
        Some([0x86, 0xdd]) => {
            let addr =
                |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes"));
            (addr(22), addr(38), packet[20], &packet[54..])
        }
        _ => bail!("not an IP packet"),
    };
    let pseudo = pseudo_header(src, dst, protocol, l4.len());
    match protocol {
        proto::TCP => ensure!(checksum(&[&pseudo, l4]) == 0, "TCP checksum"),
        proto::UDP if l4[6..8] != [0, 0] => ensure!(checksum(&[&pseudo, l4]) == 0, "UDP checksum"),
        proto::ICMP => ensure!(checksum(&[l4]) == 0, "ICMP checksum"),
        proto::ICMPV6 => ensure!(checksum(&[&pseudo, l4]) == 0, "ICMPv6 checksum"),
        _ => {}
    }
    Ok(())
}
