//! Where a client's hash leads in a Maglev table (Eisenbud et al., "Maglev", NSDI 2016, §3.4), and how the table lies in the
//! arena: behind the backends of its set, as numbers that count from the set's first row.

use crate::{
    net::{Address, Be16},
    service::ServiceRow,
};

/// Slots of every table, the largest prime below 2^16. All nodes must have the same, whatever the number of backends:
/// with another one every client would move. Of 100 backends one that goes moves 0.6 % of the clients of others.
pub const SLOTS: u32 = 65_521;

/// Logarithm of the bits of a slot: as few as all numbers of the set fit in, so that small sets have small tables.
#[must_use]
#[inline(always)]
const fn width(n_all: u32) -> u32 {
    match n_all {
        0..=2 => 0,
        3..=4 => 1,
        5..=16 => 2,
        17..=256 => 3,
        _ => 4,
    }
}

/// 64-bit words of the table of a set of `n_all` backends.
#[must_use]
#[inline(always)]
pub const fn words(n_all: u32) -> u32 {
    (SLOTS << width(n_all)).div_ceil(u64::BITS)
}

/// Arena rows of a set with its table; `row_words`: 64-bit words of a row of the arena.
#[must_use]
pub const fn arena_rows(row: ServiceRow, row_words: u32) -> u32 {
    let table = if row.has_ring() { words(row.n_all()).div_ceil(row_words) } else { 0 };
    row.n_all() + table
}

/// Where a slot lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which word of the table.
    pub word: u32,
    /// Which of its bits is the slot's lowest, 0 to 63.
    pub shift: u32,
    /// The slot's bits, not shifted.
    pub mask: u32,
}

/// The slot of a table that a hash leads to.
#[must_use]
#[inline(always)]
pub const fn slot(hash: u32) -> u32 {
    // The high half of a product spreads as a remainder does, without a division.
    ((hash as u64 * SLOTS as u64) >> 32) as u32
}

/// Where `slot` lies in the table of a set of `n_all` backends.
#[must_use]
#[inline(always)]
pub const fn place(n_all: u32, slot: u32) -> Place {
    let width = width(n_all);
    let bit = slot << width;
    Place { word: bit / u64::BITS, shift: bit % u64::BITS, mask: ((1u64 << (1 << width)) - 1) as u32 }
}

/// The hash of a client: of a connection by its port and protocol, of all that come from an address by `None`. The address
/// and port that it asks for are left out, so that it finds its backend by any way into a Service's port.
#[must_use]
#[inline(always)]
pub fn hash<A: Address>(client: A, connection: Option<(Be16, u8)>) -> u32 {
    let [a, b, c, d] = client.to_words().map(|word| u64::from(u32::from_be(word)));
    let mut hash = mix(a << 32 | b);
    if A::FAMILY == 6 {
        hash = mix(hash ^ (c << 32 | d));
    }
    if let Some((port, proto)) = connection {
        hash = mix(hash ^ (u64::from(proto) << 16 | u64::from(port.to_host())));
    }
    (hash >> 32) as u32
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014), with its increment: every bit depends on every other.
#[inline(always)]
const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::{vec, vec::Vec};

    use super::*;
    use crate::net::{V4, V6, proto};

    #[test]
    fn slots_lie_side_by_side_and_hold_every_number_of_their_set() {
        for n_all in [2, 3, 4, 5, 16, 17, 256, 257, SLOTS] {
            let mut taken = vec![0u64; words(n_all) as usize];
            for slot in 0..SLOTS {
                let Place { word, shift, mask } = place(n_all, slot);
                assert!(mask >= n_all - 1, "{n_all} backends: {mask:x}");
                let bits = u64::from(mask) << shift;
                assert_eq!(bits >> shift, u64::from(mask), "{n_all}: slot {slot} ends in its word");
                assert_eq!(taken[word as usize] & bits, 0, "{n_all}: slot {slot} is another's");
                taken[word as usize] |= bits;
            }
            let whole = taken.iter().filter(|word| **word == u64::MAX).count();
            assert!(taken.len() - whole <= 1, "{n_all}: only the last word has room");
        }
        assert_eq!((slot(0), slot(u32::MAX)), (0, SLOTS - 1));
    }

    #[test]
    fn a_set_takes_its_backends_and_its_table_in_rows_of_the_arena() {
        let row = ServiceRow::new(7, 1, 3).unwrap();
        assert_eq!(arena_rows(row, 1), 3);
        let with = row.with_ring().unwrap();
        assert_eq!((with.base(), with.n_local(), with.n_all(), with.has_ring()), (7, 1, 3, true));
        assert_eq!((arena_rows(with, 1), arena_rows(with, 3)), (3 + 2048, 3 + 683));
        assert_eq!(ServiceRow::new(0, 0, SLOTS + 1).unwrap().with_ring(), None, "some would have no slot");
    }

    /// Of 10 bits that count slots, and `n` hashes, how far the fullest and the emptiest are from their share, in percent.
    fn spread(hashes: &[u32]) -> u32 {
        let mut counts = vec![0u32; 1 << 10];
        hashes.iter().for_each(|hash| counts[(hash >> 22) as usize] += 1);
        let share = (hashes.len() >> 10) as u32;
        counts.iter().map(|n| n.abs_diff(share) * 100 / share).max().unwrap_or(0)
    }

    #[test]
    fn clients_that_are_neighbours_spread() {
        let port = |number: u32| Some((Be16::from_host(number as u16), proto::TCP));
        let addr: V4 = Ipv4Addr::new(203, 0, 113, 9).into();
        let ports: Vec<u32> = (0..1 << 16).map(|n| hash(addr, port(n))).collect();
        // 64 a slot: the standard deviation is an eighth, and four of them are rare among a thousand.
        assert!(spread(&ports) < 60, "ports: {} %", spread(&ports));
        let four: Vec<u32> = (0..1 << 18).map(|n: u32| hash(V4((0x0a00_0000 + n).to_be()), None)).collect();
        assert!(spread(&four) < 30, "IPv4: {} %", spread(&four));
        let six = |n: u32| -> V6 { Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n) << 64).into() };
        let nets: Vec<u32> = (0..1 << 18).map(|n| hash(six(n), None)).collect();
        assert!(spread(&nets) < 30, "IPv6 nets: {} %", spread(&nets));
        let hosts: Vec<u32> = (0..1 << 18).map(|n: u32| hash(V6([1, 2, 3, n.to_be()]), None)).collect();
        assert!(spread(&hosts) < 30, "IPv6 hosts: {} %", spread(&hosts));
    }

    #[test]
    fn every_part_of_a_connection_counts() {
        let base = (Ipv4Addr::new(203, 0, 113, 9), 4000, proto::TCP);
        let of = |(addr, port, proto): (Ipv4Addr, u16, u8)| {
            hash::<V4>(addr.into(), Some((Be16::from_host(port), proto)))
        };
        let others = [
            (Ipv4Addr::new(203, 0, 113, 8), base.1, base.2),
            (base.0, 4001, base.2),
            (base.0, base.1, proto::UDP),
        ];
        for other in others {
            assert_ne!(of(base), of(other), "{other:?}");
        }
        assert_ne!(of(base), hash::<V4>(base.0.into(), None));
        // The same on every node and in every version that shares a cluster with this one.
        assert_eq!(of(base), 0xe067_ec64, "the number is part of the protocol between nodes");
    }
}
