//! The walk over IPv6 extension headers (RFC 8200 §4). Exactly those are walked that Linux walks as a receiver: behind any
//! other number lies what the pod's kernel would hand to that protocol.

use super::Buffer;
use crate::reason::DropReason;

/// As many as RFC 8200 §4.1 recommends a packet to have, and one more.
const MAX: u32 = 8;

mod next {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

const FOUND: u64 = 0;
const TOO_DEEP: u64 = 1;
const MALFORMED: u64 = 2;
const SOURCE_ROUTE: u64 = 3;

/// Where the walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Upper {
    /// The first number that is no extension header's; behind the header of a later fragment, whatever it names.
    pub(super) protocol: u8,
    /// Offset of what `protocol` names.
    pub(super) l4: u32,
    /// There is a fragment header. No `Option` of it: the compiler keeps half of one in a place on the stack that it reads
    /// without having written it, which kernels before 6.4 refuse.
    pub(super) fragmented: bool,
    /// Without one, that of a datagram in one piece.
    pub(super) fragment: FragmentHeader,
}

/// A fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FragmentHeader {
    /// Fragment offset and flags, host order.
    pub(super) field: u16,
    /// Identification, as it lies.
    pub(super) id: u32,
    /// Offset of the datagram's piece.
    pub(super) data: u32,
}

/// Finds the transport header behind the extension headers that begin with one of number `first` at `start` and lie
/// before `end`.
#[inline(always)]
pub(super) fn upper<B: Buffer>(buffer: &B, first: u8, start: u32, end: u32) -> Result<Upper, DropReason> {
    let whole = FragmentHeader { field: 0, id: 0, data: start };
    if !is_extension(first) {
        return Ok(Upper { protocol: first, l4: start, fragmented: false, fragment: whole });
    }
    let answer = buffer.walk(first, start, end);
    let (protocol, l4, header) =
        (answer as u8, (answer >> 8 & 0xffff) as u32, (answer >> 24 & 0xffff) as u32);
    match answer >> 40 {
        FOUND => {}
        TOO_DEEP => return Err(DropReason::TooDeep),
        SOURCE_ROUTE => return Err(DropReason::SourceRoute),
        _ => return Err(DropReason::Malformed),
    }
    if header == 0 {
        return Ok(Upper { protocol, l4, fragmented: false, fragment: whole });
    }
    let [field, id_high, id_low]: [u16; 3] = buffer.load(header + 2)?;
    let id = u32::from(id_low) << 16 | u32::from(id_high);
    let fragment = FragmentHeader { field: u16::from_be(field), id, data: header + 8 };
    Ok(Upper { protocol, l4, fragmented: true, fragment })
}

/// The walk as one number, since it must be a function of its own in the kernel: the protocol (bits 0–7), the offset of its
/// header (8–23), that of the fragment header or 0 (24–39), and whether it got there (from bit 40 on).
#[inline(always)]
pub fn walk<B: Buffer>(buffer: &B, first: u8, start: u32, end: u32) -> u64 {
    let (mut number, mut at, mut fragment_header) = (first, start & 0xffff, 0u32);
    let mut walked = 0;
    while walked < MAX {
        if !is_extension(number) {
            return found(number, at, fragment_header);
        }
        if at + 8 > end {
            return MALFORMED << 40;
        }
        // None is shorter than eight bytes. The last two are the routing header's type and segments left, or the fragment
        // header's offset.
        let Ok([following, units, third, fourth]) = buffer.load::<[u8; 4]>(at) else {
            return MALFORMED << 40;
        };
        if number == next::FRAGMENT {
            // RFC 8200 §4.1: each at most once.
            if fragment_header != 0 {
                return MALFORMED << 40;
            }
            fragment_header = at;
            at += 8;
            if third != 0 || fourth & !7 != 0 {
                // Behind the header of a later fragment lies payload, not another header.
                return found(following, at, fragment_header);
            }
        } else if number == next::AUTHENTICATION {
            // RFC 4302 §2.2: in units of four bytes, less two.
            at += (u32::from(units) + 2) * 4;
        } else {
            if number == next::ROUTING && fourth != 0 {
                return SOURCE_ROUTE << 40;
            }
            // RFC 8200 §4.3: hop-by-hop options follow the fixed header and nothing else.
            if number == next::HOP_BY_HOP && walked != 0 {
                return MALFORMED << 40;
            }
            // RFC 8200 §4: in units of eight bytes, less one.
            at += (u32::from(units) + 1) * 8;
        }
        number = following;
        walked += 1;
    }
    if is_extension(number) { TOO_DEEP << 40 } else { found(number, at, fragment_header) }
}

#[inline(always)]
fn found(protocol: u8, at: u32, fragment_header: u32) -> u64 {
    u64::from(protocol)
        | u64::from(at & 0xffff) << 8
        | u64::from(fragment_header & 0xffff) << 24
        | FOUND << 40
}

#[inline(always)]
fn is_extension(number: u8) -> bool {
    matches!(
        number,
        next::HOP_BY_HOP | next::ROUTING | next::FRAGMENT | next::AUTHENTICATION | next::DESTINATION
    )
}
