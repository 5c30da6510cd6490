//! Whether a backend is in a Service's range of the arena.

use core::cmp::Ordering;

use crate::{
    net::{Address, Be16},
    service::ServiceRow,
};

/// Halvings after which nothing is left of the longest range.
const HALVINGS: u32 = ServiceRow::MAX_BACKENDS.ilog2() + 1;

/// The order of backends in each half of a range ([`ServiceRow`]): by address, then by port, as numbers.
#[must_use]
#[inline(always)]
pub fn order<A: Address>(one: (A, Be16), other: (A, Be16)) -> Ordering {
    let ([a, b, c, d], [e, f, g, h]) = (one.0.to_words(), other.0.to_words());
    for (left, right) in [(a, e), (b, f), (c, g), (d, h)] {
        if left != right {
            return u32::from_be(left).cmp(&u32::from_be(right));
        }
    }
    one.1.to_host().cmp(&other.1.to_host())
}

/// Whether `backend` is one of `row`, of which `at` reads the arena.
#[must_use]
#[inline(always)]
pub fn contains<A: Address>(
    row: ServiceRow,
    backend: (A, Be16),
    at: impl Fn(u32) -> Option<(A, Be16)>,
) -> bool {
    let middle = row.base() + row.n_local();
    search(row.base(), middle, backend, &at) || search(middle, row.base() + row.n_all(), backend, &at)
}

#[inline(always)]
fn search<A: Address>(
    mut low: u32,
    mut high: u32,
    backend: (A, Be16),
    at: &impl Fn(u32) -> Option<(A, Be16)>,
) -> bool {
    let mut halvings = 0;
    while halvings < HALVINGS && low < high {
        let middle = low + (high - low) / 2;
        let Some(found) = at(middle) else { return false };
        match order(found, backend) {
            Ordering::Equal => return true,
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
        halvings += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    extern crate std;
    use core::net::Ipv4Addr;
    use std::vec::Vec;

    use super::*;
    use crate::net::V4;

    fn backend(number: u32) -> (V4, Be16) {
        // Neighbours differ in the address's last byte, in its first ones, or in the port alone.
        (
            Ipv4Addr::from(0x0a00_0000 + number / 2 * 0x55).into(),
            Be16::from_host(80 + (number % 2) as u16 * 0x100),
        )
    }

    #[test]
    fn each_backend_of_either_half_is_found_and_no_other() {
        for (n_local, n_all) in [(0, 0), (0, 1), (1, 1), (1, 2), (3, 1000), (700, 1000), (1000, 1000)] {
            let row = ServiceRow::new(5, n_local, n_all).unwrap();
            // Even numbers are there, odd ones are not.
            let there: Vec<u32> =
                (0..n_local).map(|n| n * 4).chain((n_local..n_all).map(|n| n * 4 + 2)).collect();
            let at = |index: u32| there.get(index as usize - 5).map(|number| backend(*number));
            for number in 0..n_all * 4 + 2 {
                let found = contains(row, backend(number), at);
                assert_eq!(found, there.contains(&number), "{number} among {n_local} and {n_all}");
            }
        }
    }

    #[test]
    fn the_longest_range_is_searched_to_its_end() {
        let n = ServiceRow::MAX_BACKENDS;
        let row = ServiceRow::new(0, 0, n).unwrap();
        let at = |index: u32| Some((V4((index * 2).to_be()), Be16::from_host(1)));
        for index in [0, 1, n / 2, n - 2, n - 1] {
            assert!(contains(row, (V4((index * 2).to_be()), Be16::from_host(1)), at), "{index}");
            assert!(!contains(row, (V4((index * 2 + 1).to_be()), Be16::from_host(1)), at), "behind {index}");
        }
    }
}
