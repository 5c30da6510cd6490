//! A UDP datagram over IPv4 in an Ethernet frame, made from nothing: what the self-test sends, and what it expects.

use std::net::SocketAddrV4;

pub(super) struct Datagram {
    pub(super) to_mac: [u8; 6],
    pub(super) from_mac: [u8; 6],
    pub(super) from: SocketAddrV4,
    pub(super) to: SocketAddrV4,
    pub(super) ttl: u8,
}

const DATA: [u8; 4] = *b"test";
const UDP: u8 = 17;

impl Datagram {
    pub(super) fn frame(&self) -> Vec<u8> {
        let Self { to_mac, from_mac, from, to, ttl } = self;
        let (src, dst) = (from.ip().octets(), to.ip().octets());
        let length = 8 + DATA.len() as u16;
        let mut udp = Vec::new();
        for number in [from.port(), to.port(), length, 0] {
            udp.extend(number.to_be_bytes());
        }
        udp.extend(DATA);
        let pseudo = [&src[..], &dst, &[0, UDP], &length.to_be_bytes()].concat();
        let check = checksum(&[&pseudo[..], &udp].concat());
        udp[6..8].copy_from_slice(&check.to_be_bytes());
        let mut ip = vec![0x45, 0];
        ip.extend((20 + length).to_be_bytes());
        ip.extend([0, 1, 0, 0, *ttl, UDP, 0, 0]);
        ip.extend([src, dst].concat());
        let check = checksum(&ip);
        ip[10..12].copy_from_slice(&check.to_be_bytes());
        [&to_mac[..], from_mac, &[0x08, 0x00], &ip, &udp].concat()
    }
}

/// RFC 1071; of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
