//! Port ranges as prefixes.

/// A prefix of the 16-bit port space: `value` in host order with zeros behind the first `len` bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortPrefix {
    /// First port of the prefix.
    pub value: u16,
    /// Length in bits, 0 (all ports) to 16 (one port).
    pub len: u8,
}

/// The mask of a prefix of `len` bits (more than 16 counts as 16).
#[must_use]
#[inline(always)]
pub const fn mask(len: u8) -> u16 {
    if len == 0 {
        0
    } else if len >= 16 {
        u16::MAX
    } else {
        u16::MAX << (16 - len)
    }
}

/// The fewest prefixes that cover `first..=last` exactly, in ascending order (30 at most). Empty if `first > last`.
#[must_use]
pub const fn cover(first: u16, last: u16) -> Cover {
    Cover { next: first as u32, end: last as u32 + 1 }
}

/// Iterator of [`cover`].
#[derive(Clone, Debug)]
pub struct Cover {
    next: u32,
    end: u32,
}

impl Iterator for Cover {
    type Item = PortPrefix;
    fn next(&mut self) -> Option<PortPrefix> {
        if self.next >= self.end {
            return None;
        }
        // The largest block that starts here, aligned, and does not reach past the end.
        let mut bits = if self.next == 0 { 16 } else { self.next.trailing_zeros() };
        while self.next + (1 << bits) > self.end {
            bits -= 1;
        }
        let prefix = PortPrefix { value: self.next as u16, len: (16 - bits) as u8 };
        self.next += 1 << bits;
        Some(prefix)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn ports(first: u16, last: u16) -> Vec<u16> {
        cover(first, last).flat_map(|p| p.value..=(p.value | !mask(p.len))).collect()
    }

    #[test]
    fn cover_is_exact_and_small() {
        for (first, last) in
            [(0, 0), (80, 80), (1, 65535), (0, 65535), (1, 65534), (1000, 1999), (65535, 65535)]
        {
            assert_eq!(ports(first, last), (first..=last).collect::<Vec<_>>(), "{first}-{last}");
            assert!(cover(first, last).count() <= 30, "{first}-{last}");
        }
        assert_eq!(cover(0, 65535).collect::<Vec<_>>(), [PortPrefix { value: 0, len: 0 }]);
        assert_eq!(cover(5, 4).next(), None);
    }
}
