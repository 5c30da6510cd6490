//! One fragment of a datagram, of either family.

use super::Packet;
use crate::{fragment::FragRow, net::Address, reason::DropReason};

/// What an IP datagram can hold, headers included (IPv6: without the fixed one).
const LONGEST: u32 = 0xffff;

/// Where a fragment lies in its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// In bytes.
    pub(super) offset: u32,
    /// Of data, in bytes.
    pub(super) len: u32,
    /// Others follow.
    pub(super) more: bool,
    /// Bytes of the headers that count into the datagram's length and are not fragmented.
    pub(super) headers: u32,
}

impl Piece {
    /// RFC 791 §3.2, RFC 8200 §4.5: a fragment holds something, a multiple of eight bytes if it is not the last, and ends
    /// where a datagram can.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<(), DropReason> {
        let odd = self.more && self.len & 7 != 0;
        if self.len == 0 || odd || self.headers + self.offset + self.len > LONGEST {
            return Err(DropReason::Malformed);
        }
        Ok(())
    }

    /// What the first fragment leaves for the others.
    #[inline(always)]
    pub(super) fn row<A: Address>(&self, packet: &Packet<A>) -> FragRow {
        let tuple = &packet.tuple;
        FragRow { sport: tuple.sport, dport: tuple.dport, len: self.len as u16, proto: tuple.proto, pad: 0 }
    }

    /// Whether it would write over what the first fragment held, headers first (RFC 1858, RFC 5722).
    #[inline(always)]
    pub(super) fn overlaps(&self, first: &FragRow) -> bool {
        self.offset < u32::from(first.len)
    }
}
