//! How a socket is told an address.

use netpol_common::net::{Be16, V4, V6};

use super::Call;
use crate::family::{Family, Ipv4, Ipv6};

/// The address of a call, in the words of its socket.
pub trait Told {
    /// Of the packets that will follow.
    type Family: Family;

    /// What the process named, or what it is about to be shown.
    fn asked(call: &Call) -> (<Self::Family as Family>::Addr, Be16);
    /// Another one in its place.
    fn tell(call: &Call, addr: <Self::Family as Family>::Addr, port: Be16);
    /// The address that node ports have on this node's loopback interface, if one of those is asked for, or none at all, which the
    /// kernel takes for it.
    fn here(asked: <Self::Family as Family>::Addr) -> <Self::Family as Family>::Addr;
    /// Whether it is the process that names the address.
    #[inline(always)]
    fn by_process(_call: &Call) -> bool {
        true
    }
}

/// An IPv4 socket.
pub struct V4Socket;
/// An IPv6 socket with an IPv6 address.
pub struct V6Socket;
/// An IPv6 socket with an IPv4 address (`::ffff:0:0/96`, RFC 4291 §2.5.5.2).
pub struct Mapped;

impl V6Socket {
    /// Whether the address is an IPv4 one.
    #[inline(always)]
    pub fn is_mapped(call: &Call) -> bool {
        let (addr, _) = Self::asked(call);
        addr.is_mapped()
    }
}

const LOOPBACK4: u32 = u32::from_ne_bytes([127, 0, 0, 1]);

#[inline(always)]
fn here4(asked: V4) -> V4 {
    let [first, ..] = asked.0.to_ne_bytes();
    if first == 127 || asked.0 == 0 { V4(LOOPBACK4) } else { asked }
}

impl Told for V4Socket {
    type Family = Ipv4;

    #[inline(always)]
    fn asked(call: &Call) -> (V4, Be16) {
        // SAFETY: the context pointer is the kernel's and lives as long as the program.
        (V4(unsafe { (&raw const (*call.raw()).user_ip4).read_volatile() }), port(call))
    }
    #[inline(always)]
    fn tell(call: &Call, addr: V4, port: Be16) {
        // SAFETY: as above; the field may be written.
        unsafe { (&raw mut (*call.raw()).user_ip4).write_volatile(addr.0) };
        tell_port(call, port);
    }
    #[inline(always)]
    fn here(asked: V4) -> V4 {
        here4(asked)
    }
    /// The kernel names the peer of a connected IPv6 socket to itself when it sends over IPv4 (`udpv6_sendmsg`).
    #[inline(always)]
    fn by_process(call: &Call) -> bool {
        const AF_INET: u32 = 2;
        // SAFETY: as in `asked`.
        unsafe { (&raw const (*call.raw()).family).read_volatile() == AF_INET }
    }
}

impl Told for V6Socket {
    type Family = Ipv6;

    #[inline(always)]
    fn asked(call: &Call) -> (V6, Be16) {
        let words = [word(call, 0), word(call, 1), word(call, 2), word(call, 3)];
        (V6(words), port(call))
    }
    #[inline(always)]
    fn tell(call: &Call, V6([a, b, c, d]): V6, port: Be16) {
        tell_word(call, 0, a);
        tell_word(call, 1, b);
        tell_word(call, 2, c);
        tell_word(call, 3, d);
        tell_port(call, port);
    }
    #[inline(always)]
    fn here(asked: V6) -> V6 {
        let loopback = V6([0, 0, 0, 1_u32.to_be()]);
        if asked == V6([0; 4]) { loopback } else { asked }
    }
}

impl Told for Mapped {
    type Family = Ipv4;

    #[inline(always)]
    fn asked(call: &Call) -> (V4, Be16) {
        (V4(word(call, 3)), port(call))
    }
    #[inline(always)]
    fn tell(call: &Call, addr: V4, port: Be16) {
        tell_word(call, 3, addr.0);
        tell_port(call, port);
    }
    #[inline(always)]
    fn here(asked: V4) -> V4 {
        here4(asked)
    }
}

#[inline(always)]
fn word(call: &Call, at: usize) -> u32 {
    // SAFETY: as in `V4Socket::asked`; `at` is a constant below four.
    unsafe { (&raw const (*call.raw()).user_ip6).cast::<u32>().add(at).read_volatile() }
}

#[inline(always)]
fn tell_word(call: &Call, at: usize, word: u32) {
    // SAFETY: as in `word`; the field may be written.
    unsafe { (&raw mut (*call.raw()).user_ip6).cast::<u32>().add(at).write_volatile(word) };
}

/// The field has four bytes, with the port as it lies in the first two.
#[inline(always)]
fn port(call: &Call) -> Be16 {
    // SAFETY: as in `V4Socket::asked`.
    Be16::from_raw(unsafe { (&raw const (*call.raw()).user_port).read_volatile() } as u16)
}

#[inline(always)]
fn tell_port(call: &Call, port: Be16) {
    // SAFETY: as in `V4Socket::tell`.
    unsafe { (&raw mut (*call.raw()).user_port).write_volatile(u32::from(port.raw())) };
}
