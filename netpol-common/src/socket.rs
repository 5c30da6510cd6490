//! What sockets of the node's own processes were told instead of a Service's address.

use bytemuck::{Pod, Zeroable};

use crate::net::Be16;

/// Key of `np_sock`: a socket, and one of the addresses that it speaks to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct SocketKey {
    /// The socket's cookie (`SO_COOKIE`), never given to another one.
    pub cookie: u64,
    /// Address of the Service or the backend, see [`Address::to_words`](crate::net::Address::to_words).
    pub addr: [u32; 4],
    /// Its port.
    pub port: Be16,
    /// [`TO_BACKEND`] or [`TO_SERVICE`].
    pub towards: u8,
    /// 4 or 6, of the packets: an IPv6 socket can speak both.
    pub family: u8,
    /// Always 0.
    pub pad: u32,
}

/// From a Service's address to the backend that this socket's datagrams go to.
pub const TO_BACKEND: u8 = 0;
/// From a backend's address to the Service's that the process knows.
pub const TO_SERVICE: u8 = 1;

/// Value of `np_sock`: the other address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct SocketRow {
    /// See [`SocketKey::addr`].
    pub addr: [u32; 4],
    /// Its port.
    pub port: Be16,
    /// Always 0.
    pub pad: u16,
    /// [`FrontendRow::svc`](crate::service::FrontendRow::svc)
    pub svc: u32,
}

/// In place of a cookie: the kernel's first network namespace. Kernels before 5.14 tell nobody their namespace's cookie.
pub const INITIAL: u64 = u64::MAX;

const _: () = assert!(size_of::<SocketKey>() == 32 && size_of::<SocketRow>() == 24);
