//! IPv4 options (RFC 791 §3.1).

use super::{Buffer, L3};
use crate::reason::DropReason;

/// No header has more.
const MAX: u32 = 40;
const START: u32 = L3 + 20;

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub(super) const STRICT_SOURCE_ROUTE: u8 = 137;
}

/// 0 if the `len` bytes of options are well formed and name no route, else the number of a [`DropReason`]. A route that has
/// been gone to its end counts as well: the answer would be sent back along it.
#[inline(always)]
pub fn walk<B: Buffer>(buffer: &B, len: u32) -> u64 {
    let (mut at, mut walked) = (0, 0);
    // Each is a byte long at least.
    while walked < MAX {
        if at >= len {
            return 0;
        }
        let Ok(number) = buffer.load::<u8>(START + at) else {
            return DropReason::Malformed as u64;
        };
        if number == kind::END {
            return 0;
        }
        if number == kind::NO_OPERATION {
            at += 1;
        } else {
            let Ok(size) = buffer.load::<u8>(START + at + 1) else {
                return DropReason::Malformed as u64;
            };
            let size = u32::from(size);
            if size < 2 || at + size > len {
                return DropReason::Malformed as u64;
            }
            if number == kind::LOOSE_SOURCE_ROUTE || number == kind::STRICT_SOURCE_ROUTE {
                return DropReason::SourceRoute as u64;
            }
            at += size;
        }
        walked += 1;
    }
    0
}
