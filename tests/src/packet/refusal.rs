use netpol_common::net::proto;

use super::{
    build::{ETHERNET, RST, SYN},
    checksum::{checksum, pseudo_header},
};
use std::net::IpAddr;

const ACK: u8 = 0x10;
const FIN: u8 = 0x01;

/// The reset that a closed port answers the segment in `frame` with, whose TCP header begins at `l4` (RFC 9293 §3.10.7.1).
///
/// # Panics
/// If there is no such header.
#[must_use]
pub fn reset_of(frame: &[u8], l4: usize) -> Vec<u8> {
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    let (seq, ack, flags) = (word(l4 + 4), word(l4 + 8), frame[l4 + 13]);
    let data = end(frame) - l4 - usize::from(frame[l4 + 12] >> 4) * 4;
    let len =
        u32::try_from(data).expect("a segment") + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (seq, ack, flags) =
        if flags & ACK != 0 { (ack, 0, RST) } else { (0, seq.wrapping_add(len), RST | ACK) };
    let mut segment =
        [&frame[l4 + 2..l4 + 4], &frame[l4..l4 + 2], &seq.to_be_bytes(), &ack.to_be_bytes()].concat();
    segment.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    let (src, dst) = addresses(frame);
    let sum = checksum(&[&pseudo_header(dst, src, proto::TCP, segment.len()), &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    answer(frame, proto::TCP, &segment)
}

/// The "port unreachable" that answers `frame`: as much of it as RFC 1812 and RFC 4443 quote, in whole words.
#[must_use]
pub fn unreachable_of(frame: &[u8]) -> Vec<u8> {
    let (src, dst) = addresses(frame);
    let (protocol, kind, code, most) =
        if src.is_ipv4() { (proto::ICMP, 3, 3, 576 - 28) } else { (proto::ICMPV6, 1, 4, 1280 - 48) };
    let quote = (end(frame) - ETHERNET).min(most) / 4 * 4;
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0], &frame[ETHERNET..ETHERNET + quote]].concat();
    let pseudo = if src.is_ipv4() { Vec::new() } else { pseudo_header(dst, src, protocol, message.len()) };
    let sum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    answer(frame, protocol, &message)
}

/// A packet that goes back to where `frame` came from.
fn answer(frame: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = [&frame[6..12], &frame[..6], &frame[12..14]].concat();
    let len = u16::try_from(payload.len()).expect("an answer is short");
    if is_ipv4(frame) {
        packet.extend([0x45, 0]);
        packet.extend((20 + len).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        packet.extend_from_slice(&frame[30..34]);
        packet.extend_from_slice(&frame[26..30]);
        let sum = checksum(&[&packet[ETHERNET..]]);
        packet[24..26].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet.extend([0x60, 0, 0, 0]);
        packet.extend(len.to_be_bytes());
        packet.extend([protocol, 64]);
        packet.extend_from_slice(&frame[38..54]);
        packet.extend_from_slice(&frame[22..38]);
    }
    [packet, payload.to_vec()].concat()
}

fn is_ipv4(frame: &[u8]) -> bool {
    frame[12..14] == [0x08, 0x00]
}

/// Where the packet ends by its own length.
fn end(frame: &[u8]) -> usize {
    let len = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    if is_ipv4(frame) { ETHERNET + len(16) } else { ETHERNET + 40 + len(18) }
}

fn addresses(frame: &[u8]) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).expect("four bytes"));
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).expect("sixteen bytes"));
    if is_ipv4(frame) { (v4(26), v4(30)) } else { (v6(22), v6(38)) }
}
