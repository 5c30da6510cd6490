//! The walk over IPv6 extension headers (RFC 8200 §4).

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
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

const FOUND: u64 = 0;
const TOO_DEEP: u64 = 1;
const CUT: u64 = 2;

/// Where the walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Upper {
    pub(super) protocol: u8,
    pub(super) l4: u32,
    /// Fragment offset and flags, host order: 0 without a fragment header.
    pub(super) fragment: u16,
    pub(super) id: u32,
}

/// Finds the transport header behind the extension headers that begin with one of number `first` at `start`.
#[inline(always)]
pub(super) fn upper<B: Buffer>(buffer: &B, first: u8, start: u32) -> Result<Upper, DropReason> {
    if !is_extension(first) {
        return Ok(Upper { protocol: first, l4: start, fragment: 0, id: 0 });
    }
    let answer = buffer.walk(first, start);
    let (protocol, l4, fragment_header) =
        (answer as u8, (answer >> 8 & 0xffff) as u32, (answer >> 24 & 0xffff) as u32);
    match answer >> 40 {
        FOUND => {}
        TOO_DEEP => return Err(DropReason::TooDeep),
        _ => return Err(DropReason::Malformed),
    }
    if fragment_header == 0 {
        return Ok(Upper { protocol, l4, fragment: 0, id: 0 });
    }
    let [offset, id_high, id_low]: [u16; 3] = buffer.load(fragment_header + 2)?;
    let id = u32::from(id_low) << 16 | u32::from(id_high);
    Ok(Upper { protocol, l4, fragment: u16::from_be(offset), id })
}

/// The walk as one number, since it must be a function of its own in the kernel: the protocol (bits 0–7), the offset of its
/// header (8–23), that of the fragment header or 0 (24–39), and whether it got there (from bit 40 on).
#[inline(always)]
pub fn walk<B: Buffer>(buffer: &B, first: u8, start: u32) -> u64 {
    let (mut number, mut at, mut fragment_header) = (first, start & 0xffff, 0u32);
    let mut walked = 0;
    while walked < MAX {
        if !is_extension(number) {
            return found(number, at, fragment_header);
        }
        let Ok([following, units]) = buffer.load::<[u8; 2]>(at) else { return CUT << 40 };
        if number == next::FRAGMENT {
            let Ok(offset) = buffer.load::<u16>(at + 2) else { return CUT << 40 };
            fragment_header = at;
            at += 8;
            if u16::from_be(offset) & !7 != 0 {
                // Behind the header of a later fragment lies payload, not another header.
                return found(following, at, fragment_header);
            }
        } else if number == next::AUTHENTICATION {
            // RFC 4302 §2.2: in units of four bytes, less two.
            at += (u32::from(units) + 2) * 4;
        } else {
            // RFC 8200 §4: in units of eight bytes, less one.
            at += (u32::from(units) + 1) * 8;
        }
        number = following;
        walked += 1;
    }
    TOO_DEEP << 40
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
        next::HOP_BY_HOP
            | next::ROUTING
            | next::FRAGMENT
            | next::AUTHENTICATION
            | next::DESTINATION
            | next::MOBILITY
            | next::HIP
            | next::SHIM6
    )
}
