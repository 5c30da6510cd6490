//! Addresses and ports as they lie in a packet. No parsing of packets.

use bytemuck::{Pod, Zeroable};

/// A 16-bit number in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// From host order.
    #[must_use]
    #[inline(always)]
    pub const fn from_host(value: u16) -> Self {
        Self(value.to_be())
    }
    /// From the bytes as loaded.
    #[must_use]
    #[inline(always)]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }
    /// In host order.
    #[must_use]
    #[inline(always)]
    pub const fn to_host(self) -> u16 {
        u16::from_be(self.0)
    }
    /// The bytes as they lie.
    #[must_use]
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }
    /// This one, or `other` if `mask` has all bits and not none.
    #[must_use]
    #[inline(always)]
    pub const fn or_if(self, other: Self, mask: u32) -> Self {
        Self(self.0 ^ ((self.0 ^ other.0) & mask as u16))
    }
}

/// An IPv4 address, its four bytes as they lie in the packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct V4(pub u32);

/// An IPv6 address, four words as they lie in the packet. Compared by word: a byte-wise `==` becomes a `memcmp`
/// subprogram in BPF.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct V6(pub [u32; 4]);

impl V6 {
    /// Whether it is in `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
    #[must_use]
    #[inline(always)]
    pub const fn is_mapped(self) -> bool {
        let [a, b, c, _] = self.0;
        a | b | (c ^ 0xffff_u32.to_be()) == 0
    }
}

impl PartialEq for V6 {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.differs_from(*other) == 0
    }
}
impl Eq for V6 {}
impl core::hash::Hash for V6 {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// What the generic code asks of an address.
pub trait Address: Copy + Eq + Pod {
    /// 4 or 6.
    const FAMILY: u8;
    /// 1 if the end with this address and `port` comes before the other end, else 0. A total order, the same in kernel and agent,
    /// without other meaning. In arithmetic: each branch of a comparison would be walked by the verifier with all that follows.
    fn before(self, port: Be16, other: Self, other_port: Be16) -> u64;
    /// This one, or `other` if `mask` has all bits and not none.
    fn or_if(self, other: Self, mask: u32) -> Self;
    /// 0 if they are the same.
    fn differs_from(self, other: Self) -> u32;
    /// Four words; an IPv4 address lies in the first.
    fn to_words(self) -> [u32; 4];
    /// The inverse of [`Address::to_words`].
    fn from_words(words: [u32; 4]) -> Self;
}

impl Address for V4 {
    const FAMILY: u8 = 4;
    #[inline(always)]
    fn before(self, port: Be16, other: Self, other_port: Be16) -> u64 {
        let number = |addr: Self, port: Be16| u64::from(addr.0) << 32 | u64::from(port.0) << 16;
        borrow(number(self, port), number(other, other_port), 0)
    }
    #[inline(always)]
    fn or_if(self, other: Self, mask: u32) -> Self {
        Self(self.0 ^ ((self.0 ^ other.0) & mask))
    }
    #[inline(always)]
    fn differs_from(self, other: Self) -> u32 {
        self.0 ^ other.0
    }
    #[inline(always)]
    fn to_words(self) -> [u32; 4] {
        [self.0, 0, 0, 0]
    }
    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        let [a, ..] = words;
        Self(a)
    }
}

impl Address for V6 {
    const FAMILY: u8 = 6;
    #[inline(always)]
    fn before(self, port: Be16, other: Self, other_port: Be16) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        let tie = borrow(u64::from(port.0) << 48, u64::from(other_port.0) << 48, 0);
        let two = |low, high| u64::from(low) | u64::from(high) << 32;
        borrow(two(c, d), two(g, h), borrow(two(a, b), two(e, f), tie))
    }
    #[inline(always)]
    fn or_if(self, other: Self, mask: u32) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a ^ ((a ^ e) & mask), b ^ ((b ^ f) & mask), c ^ ((c ^ g) & mask), d ^ ((d ^ h) & mask)])
    }
    #[inline(always)]
    fn differs_from(self, other: Self) -> u32 {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h)
    }
    #[inline(always)]
    fn to_words(self) -> [u32; 4] {
        self.0
    }
    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }
}

/// What the digit above lends to `a - b - lent`.
#[inline(always)]
const fn borrow(a: u64, b: u64, lent: u64) -> u64 {
    (!a & b | (!a | b) & a.wrapping_sub(b).wrapping_sub(lent)) >> 63
}

impl From<core::net::Ipv4Addr> for V4 {
    fn from(addr: core::net::Ipv4Addr) -> Self {
        Self(u32::from_ne_bytes(addr.octets()))
    }
}
impl From<V4> for core::net::Ipv4Addr {
    fn from(addr: V4) -> Self {
        Self::from(addr.0.to_ne_bytes())
    }
}
impl From<core::net::Ipv6Addr> for V6 {
    fn from(addr: core::net::Ipv6Addr) -> Self {
        Self(bytemuck::cast(addr.octets()))
    }
}
impl From<V6> for core::net::Ipv6Addr {
    fn from(addr: V6) -> Self {
        Self::from(bytemuck::cast::<_, [u8; 16]>(addr.0))
    }
}

/// IANA protocol numbers that the packet path knows.
pub mod proto {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv4 in IPv4 (RFC 2003).
    pub const IPV4: u8 = 4;
    /// IPv6 in IPv6 (RFC 2473).
    pub const IPV6: u8 = 41;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
}
