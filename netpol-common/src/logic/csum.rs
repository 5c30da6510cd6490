//! Internet checksums (RFC 1071), whole and incremental (RFC 1624).

/// What a one's complement sum grows by when the words of `old` are replaced by those of `new` (raw, as they lie; an
/// IPv4 address has three words of 0). The form that `bpf_l4_csum_replace` takes.
#[must_use]
#[inline(always)]
pub const fn difference(old: [u32; 4], new: [u32; 4]) -> u32 {
    let [a, b, c, d] = old;
    let [e, f, g, h] = new;
    let sum = !a as u64 + !b as u64 + !c as u64 + !d as u64 + e as u64 + f as u64 + g as u64 + h as u64;
    together(sum as u32, (sum >> 32) as u32)
}

/// The difference that two changes make together.
#[must_use]
#[inline(always)]
pub const fn together(first: u32, second: u32) -> u32 {
    let sum = first as u64 + second as u64;
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

/// A sum of words (raw, as they lie) that [`finish`] makes a checksum of; sums of several parts are added.
#[must_use]
#[inline(always)]
pub fn sum(words: &[u32]) -> u64 {
    let mut sum = 0;
    for word in words {
        sum += *word as u64;
    }
    sum
}

/// What [`sum`] says of the pseudo header of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1). `len` in bytes.
#[must_use]
#[inline(always)]
pub fn pseudo_header(src: [u32; 4], dst: [u32; 4], proto: u8, len: u16) -> u64 {
    sum(&src) + sum(&dst) + sum(&[u32::from(proto).to_be(), u32::from(len).to_be()])
}

/// The checksum field (raw) of what `sum` was taken of, the field itself counted as 0.
#[must_use]
#[inline(always)]
pub const fn finish(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// A checksum field (raw) after the bytes it covers changed by `difference`.
#[must_use]
#[inline(always)]
pub const fn follow(field: u16, difference: u32) -> u16 {
    let sum = (!field) as u32 + (difference & 0xffff) + (difference >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn checksum(words: &[u16]) -> u16 {
        let mut sum: u32 = words.iter().map(|&word| u32::from(word)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn halves(word: u32) -> [u16; 2] {
        [word as u16, (word >> 16) as u16]
    }

    #[test]
    fn a_followed_checksum_equals_a_computed_one() {
        for (old, new, rest) in [
            (0x0a01_f40a_u32, 0x140f_600a_u32, [0x4500_u16, 0x003c, 0x1c46]),
            (0, u32::MAX, [1, 2, 3]),
            (u32::MAX, 1, [0xffff, 0xffff, 0xfffe]),
            (0x1234_5678, 0x8765_4321, [0, 0, 0x8000]),
        ] {
            let packet = |addr| [rest.as_slice(), &halves(addr)].concat_five();
            let before = checksum(&packet(old));
            let after = follow(before, difference([old, 0, 0, 0], [new, 0, 0, 0]));
            assert_eq!(after, checksum(&packet(new)), "{old:x} -> {new:x}");
        }
    }

    #[test]
    fn a_checksum_over_words_equals_one_over_their_halves() {
        for words in
            [[0, 0, 0], [u32::MAX; 3], [0x4500_003c, 0x1c46_4000, 0x4006_0000], [1, 0xffff_0000, 0xffff]]
        {
            let both: [[u16; 2]; 3] = words.map(halves);
            assert_eq!(finish(sum(&words)), checksum(both.as_flattened()), "{words:x?}");
        }
    }

    #[test]
    fn a_pseudo_header_counts_addresses_protocol_and_length() {
        let (src, dst) = ([0x0a01_f40a_u32, 1, 2, 3], [0x140f_600a_u32, 4, 5, 6]);
        // As RFC 8200 draws it: 32 bits of length, 24 of zeros, the next header.
        let end = [u32::from_ne_bytes([0, 0, 0, 20]), u32::from_ne_bytes([0, 0, 0, 6])];
        let words: std::vec::Vec<u32> = [&src[..], &dst, &end].concat();
        let halves: std::vec::Vec<u16> = words.into_iter().flat_map(halves).collect();
        assert_eq!(finish(pseudo_header(src, dst, 6, 20)), checksum(&halves));
    }

    trait ConcatFive {
        fn concat_five(&self) -> [u16; 5];
    }
    impl ConcatFive for [&[u16]; 2] {
        fn concat_five(&self) -> [u16; 5] {
            let mut out = [0; 5];
            for (slot, value) in out.iter_mut().zip(self.iter().copied().flatten()) {
                *slot = *value;
            }
            out
        }
    }
}
