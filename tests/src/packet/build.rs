use std::net::{IpAddr, SocketAddr};

use netpol_common::net::proto;

use super::checksum::{checksum, pseudo_header};

/// Length of the Ethernet header.
pub const ETHERNET: usize = 14;

/// TCP flags as they lie.
pub const SYN: u8 = 0x02;
/// The answer to a SYN.
pub const SYN_ACK: u8 = 0x12;
/// Data.
pub const PSH_ACK: u8 = 0x18;
/// The end of one direction.
pub const FIN_ACK: u8 = 0x11;
/// The end of both.
pub const RST: u8 = 0x04;
/// Nothing but an acknowledgement.
pub const ACK: u8 = 0x10;

fn ip(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let len = u16::try_from(20 + payload.len()).expect("fits IPv4");
            let mut header = vec![0x45, 0];
            header.extend(len.to_be_bytes());
            header.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
            header.extend(src.octets());
            header.extend(dst.octets());
            set_ipv4_checksum(&mut header);
            packet.extend([0x08, 0x00]);
            packet.extend(header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let len = u16::try_from(payload.len()).expect("fits IPv6");
            packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            packet.extend(len.to_be_bytes());
            // Neighbour discovery wants 255, and nothing else minds.
            packet.extend([protocol, 255]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
        }
        _ => panic!("{src} and {dst} are of different families"),
    }
    packet.extend(payload);
    packet
}

fn set_ipv4_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&[header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// A TCP segment with `payload`.
#[must_use]
pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: u8, payload: &[u8]) -> Vec<u8> {
    numbered(src, dst, flags, [1, 0], payload)
}

/// The same with a sequence and an acknowledgement number.
#[must_use]
pub fn numbered(src: SocketAddr, dst: SocketAddr, flags: u8, numbers: [u32; 2], payload: &[u8]) -> Vec<u8> {
    let mut segment = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    segment.extend(numbers.map(u32::to_be_bytes).concat());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let pseudo = pseudo_header(src.ip(), dst.ip(), proto::TCP, segment.len());
    let sum = checksum(&[&pseudo, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(src.ip(), dst.ip(), proto::TCP, &segment)
}

/// A UDP datagram.
#[must_use]
pub fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).expect("fits UDP");
    let mut datagram =
        [src.port().to_be_bytes(), dst.port().to_be_bytes(), len.to_be_bytes(), [0, 0]].concat();
    datagram.extend(payload);
    let pseudo = pseudo_header(src.ip(), dst.ip(), proto::UDP, datagram.len());
    let sum = match checksum(&[&pseudo, &datagram]) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&u16::to_be_bytes(sum));
    ip(src.ip(), dst.ip(), proto::UDP, &datagram)
}

/// The packet (with its Ethernet header, which becomes the outer one's) in one from `src` to `dst`, as nodes send them on to each other
/// with `--external-mode=dsr`: `dst` is the backend's address and port.
#[must_use]
pub fn encapsulated(src: IpAddr, dst: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let protocol = if src.is_ipv4() { proto::IPV4 } else { proto::IPV6 };
    let mut outer = ip(src, dst.ip(), protocol, &packet[ETHERNET..]);
    outer[..ETHERNET].copy_from_slice(&packet[..ETHERNET]);
    let [high, low] = dst.port().to_be_bytes();
    if src.is_ipv4() {
        // Identification, "don't fragment".
        outer[18..22].copy_from_slice(&[high, low, 0x40, 0]);
        set_ipv4_checksum(&mut outer[ETHERNET..34]);
    } else {
        // Flow label, hop limit.
        outer[16..18].copy_from_slice(&[high, low]);
        outer[21] = 64;
    }
    outer
}

/// An SCTP INIT chunk (its CRC32c is left 0: no hop looks at it).
#[must_use]
pub fn sctp(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    let mut packet = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20]);
    packet.extend([0; 16]);
    ip(src.ip(), dst.ip(), proto::SCTP, &packet)
}

/// A packet of any protocol.
#[must_use]
pub fn other(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip(src, dst, protocol, payload)
}

fn icmp(src: IpAddr, dst: IpAddr, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(payload);
    let (protocol, sum) = if src.is_ipv4() {
        (proto::ICMP, checksum(&[&message]))
    } else {
        let pseudo = pseudo_header(src, dst, proto::ICMPV6, message.len());
        (proto::ICMPV6, checksum(&[&pseudo, &message]))
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(src, dst, protocol, &message)
}

/// An echo request with an identifier.
#[must_use]
pub fn echo_request(src: IpAddr, dst: IpAddr, id: u16) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    icmp(src, dst, if src.is_ipv4() { 8 } else { 128 }, 0, [a, b, 0, 1], b"ping")
}

/// The answer to an echo request.
#[must_use]
pub fn echo_reply(src: IpAddr, dst: IpAddr, id: u16) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    icmp(src, dst, if src.is_ipv4() { 0 } else { 129 }, 0, [a, b, 0, 1], b"ping")
}

/// An ICMP error about `quoted` (with its Ethernet header, which is not quoted).
#[must_use]
pub fn icmp_error(src: IpAddr, dst: IpAddr, kind: u8, code: u8, rest: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let quoted = &quoted[ETHERNET..];
    // RFC 792 quotes the header and eight bytes; RFC 4443 as much as fits.
    let len = if src.is_ipv4() { usize::from(quoted[0] & 15) * 4 + 8 } else { quoted.len() };
    icmp(src, dst, kind, code, rest, &quoted[..len])
}

/// The same, of a reporter that quotes all of it (RFC 1812 §4.3.2.3). `what` are type and code.
#[must_use]
pub fn whole_icmp_error(src: IpAddr, dst: IpAddr, what: [u8; 2], rest: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let [kind, code] = what;
    icmp(src, dst, kind, code, rest, &quoted[ETHERNET..])
}

/// "Port unreachable" about `quoted`.
#[must_use]
pub fn unreachable(src: IpAddr, dst: IpAddr, quoted: &[u8]) -> Vec<u8> {
    let (kind, code) = if src.is_ipv4() { (3, 3) } else { (1, 4) };
    icmp_error(src, dst, kind, code, [0; 4], quoted)
}

/// "Fragmentation needed" or "packet too big" about `quoted`.
#[must_use]
pub fn packet_too_big(src: IpAddr, dst: IpAddr, mtu: u16, quoted: &[u8]) -> Vec<u8> {
    let [a, b] = mtu.to_be_bytes();
    let (kind, code) = if src.is_ipv4() { (3, 4) } else { (2, 0) };
    icmp_error(src, dst, kind, code, [0, 0, a, b], quoted)
}

/// An ARP request.
#[must_use]
pub fn arp() -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    packet.extend([0x02, 0, 0, 0, 0, 2, 0x08, 0x06]);
    packet.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    packet.extend([0; 20]);
    packet
}

/// The packet with `options` (a multiple of four bytes) in its IPv4 header.
#[must_use]
pub fn with_ipv4_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut header = [&packet[ETHERNET..34], options].concat();
    header[0] = 0x40 | u8::try_from(header.len() / 4).expect("at most 40 bytes of options");
    let total = u16::try_from(packet.len() - ETHERNET + options.len()).expect("fits IPv4");
    header[2..4].copy_from_slice(&total.to_be_bytes());
    set_ipv4_checksum(&mut header);
    [&packet[..ETHERNET], &header, &packet[34..]].concat()
}

/// An IPv6 extension header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extension {
    /// Its number (0 hop-by-hop, 43 routing, 60 destination options, 51 authentication, …).
    pub number: u8,
    /// Its length in bytes, a multiple of eight (for 51: of four).
    pub len: usize,
}

/// The IPv6 packet with extension headers before its payload.
#[must_use]
pub fn extended(packet: &[u8], extensions: &[Extension]) -> Vec<u8> {
    let upper = packet[20];
    let mut chain = Vec::new();
    for (at, extension) in extensions.iter().enumerate() {
        let next = extensions.get(at + 1).map_or(upper, |extension| extension.number);
        let units = if extension.number == 51 { extension.len / 4 - 2 } else { extension.len / 8 - 1 };
        let start = chain.len();
        chain.extend([next, u8::try_from(units).expect("short header")]);
        chain.resize(start + extension.len, 0);
    }
    insert_before_payload(packet, extensions.first().map_or(upper, |extension| extension.number), &chain)
}

/// Which part of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fragment {
    /// The first, with the transport header.
    First,
    /// A later one.
    Later,
}

/// Makes the packet the first or a later fragment of datagram `id`.
#[must_use]
pub fn fragment(packet: &[u8], which: Fragment, id: u16) -> Vec<u8> {
    if packet[12..14] == [0x08, 0x00] {
        let mut packet = packet.to_vec();
        packet[18..20].copy_from_slice(&id.to_be_bytes());
        let field: u16 = if which == Fragment::First { 0x2000 } else { 100 };
        packet[20..22].copy_from_slice(&field.to_be_bytes());
        set_ipv4_checksum(&mut packet[ETHERNET..34]);
        return packet;
    }
    let field: u16 = if which == Fragment::First { 1 } else { 100 << 3 };
    let [a, b] = field.to_be_bytes();
    let [c, d] = id.to_be_bytes();
    insert_before_payload(packet, 44, &[packet[20], 0, a, b, 0, 0, c, d])
}

fn insert_before_payload(packet: &[u8], next: u8, chain: &[u8]) -> Vec<u8> {
    let mut out = [&packet[..54], chain, &packet[54..]].concat();
    out[20] = next;
    let len = u16::try_from(out.len() - 54).expect("fits IPv6");
    out[18..20].copy_from_slice(&len.to_be_bytes());
    out
}
