use std::net::{IpAddr, Ipv6Addr};

use netpol_common::logic::ring::{self, SLOTS};
use sha2::{Digest, Sha256};

use crate::dataplane::Backend;

/// The Maglev table of a set, in the words that lie behind it in the arena: each slot says which of `backends`, counted as they
/// are given. It depends on their addresses and ports alone, so every node makes the same choices, in whatever order it has them.
///
/// Backends take turns; each takes the first free slot in an order of its own (Eisenbud et al., "Maglev", NSDI 2016, §3.4). More
/// of them than slots cannot be told apart; nobody asks for that ([`ServiceRow::with_ring`]).
///
/// [`ServiceRow::with_ring`]: netpol_common::service::ServiceRow::with_ring
#[must_use]
pub fn ring(backends: &[Backend]) -> Vec<u64> {
    let n = backends.len() as u32;
    let mut table = vec![0u64; ring::words(n) as usize];
    if n == 0 {
        return table;
    }
    let mut turns: Vec<(Order, u32)> = backends.iter().map(Order::of).zip(0..).collect();
    // The same on every node: who comes first is not whoever is here.
    turns.sort_unstable_by_key(|(_, place)| backends[*place as usize]);
    let mut taken = vec![false; SLOTS as usize];
    let mut free = SLOTS;
    loop {
        for (order, place) in &mut turns {
            let slot = order.next_free(&mut taken);
            let at = ring::place(n, slot);
            table[at.word as usize] |= u64::from(*place) << at.shift;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

/// The order in which a backend asks for slots: all of them, since their number is a prime.
struct Order {
    next: u32,
    step: u32,
}

impl Order {
    fn of(backend: &Backend) -> Self {
        let addr: Ipv6Addr = match backend.addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped(),
            IpAddr::V6(addr) => addr,
        };
        let hash = Sha256::new().chain_update(addr.octets()).chain_update(backend.port.to_be_bytes());
        let hash = hash.finalize();
        let number = |at: usize| hash[at..at + 8].iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let below = |number: u64, limit: u32| (number % u64::from(limit)) as u32;
        Self { next: below(number(0), SLOTS), step: below(number(8), SLOTS - 1) + 1 }
    }

    /// Takes the next slot that nobody has. There must be one.
    fn next_free(&mut self, taken: &mut [bool]) -> u32 {
        loop {
            let slot = self.next;
            self.next = (slot + self.step) % SLOTS;
            if !std::mem::replace(&mut taken[slot as usize], true) {
                return slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Who has each slot.
    fn owners(backends: &[Backend]) -> Vec<Backend> {
        let table = ring(backends);
        let owner = |slot| {
            let at = ring::place(backends.len() as u32, slot);
            backends[((table[at.word as usize] >> at.shift) as u32 & at.mask) as usize]
        };
        (0..SLOTS).map(owner).collect()
    }

    fn counts(backends: &[Backend]) -> Vec<usize> {
        let owners = owners(backends);
        backends.iter().map(|backend| owners.iter().filter(|owner| *owner == backend).count()).collect()
    }

    /// Pods of a few nodes, as many as `n`, of the network that `seed` names.
    fn pods(seed: u32, n: u32, v4: bool) -> Vec<Backend> {
        let port = 8000 + (seed % 100) as u16;
        let addr = |number: u32| -> IpAddr {
            let (node, pod) = (number % 7, number / 7);
            if v4 {
                (0x0a00_0000 | (seed & 0xff) << 16 | node << 8 | pod).to_be_bytes().into()
            } else {
                [0xfd00, seed as u16, (seed >> 16) as u16, 0, node as u16, 0, 0, pod as u16].into()
            }
        };
        (0..n).map(|number| Backend { addr: addr(number), port }).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn one_of_a_hundred_that_goes_takes_at_most_a_hundredth_of_the_others_along(
            seed: u32, v4: bool, gone in 0..100usize
        ) {
            let before = pods(seed, 100, v4);
            let mut after = before.clone();
            let gone = after.remove(gone);
            let moved = owners(&before).into_iter().zip(owners(&after));
            let moved = moved.filter(|(old, new)| *old != gone && old != new).count();
            prop_assert!(moved * 100 <= SLOTS as usize, "{moved} of {SLOTS} slots");
        }

        #[test]
        fn every_backend_has_its_share(seed: u32, v4: bool, n in 1u32..=500) {
            let backends = pods(seed, n, v4);
            let share = f64::from(SLOTS) / f64::from(n);
            for count in counts(&backends) {
                let off = (count as f64 / share - 1.0).abs();
                prop_assert!(off <= 0.02, "{count} slots of {share} are {off} off");
            }
        }

        #[test]
        fn the_order_that_they_are_given_in_changes_nobodys_slots(seed: u32, n in 2u32..=300, split: u32) {
            let mut backends = pods(seed, n, true);
            let before = owners(&backends);
            backends.rotate_left((split % n) as usize);
            backends.reverse();
            prop_assert_eq!(before, owners(&backends));
        }
    }

    #[test]
    fn another_port_of_a_pod_is_another_backend() {
        let pod = IpAddr::from([10, 0, 0, 1]);
        let both = [80, 81].map(|port| Backend { addr: pod, port });
        assert_eq!(counts(&both), [SLOTS as usize / 2 + 1, SLOTS as usize / 2]);
        assert!(ring(&[]).is_empty() || owners(&both[..1]).iter().all(|owner| *owner == both[0]));
    }

    #[test]
    fn tables_are_the_same_in_every_version_that_shares_a_cluster_with_this_one() {
        let digest = Sha256::digest(bytemuck::cast_slice::<u64, u8>(&ring(&pods(1, 100, true))));
        assert_eq!(digest[..4], [132, 75, 100, 193]);
    }
}
