use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

use crate::socket::{Call, GO_ON, Mapped, V4Socket, V6Socket, ahead, back};

/// An IPv4 socket connects.
#[cgroup_sock_addr(connect4)]
pub fn np_connect4(ctx: SockAddrContext) -> i32 {
    ahead4(&ctx)
}

/// An IPv6 socket connects.
#[cgroup_sock_addr(connect6)]
pub fn np_connect6(ctx: SockAddrContext) -> i32 {
    ahead6(&ctx)
}

/// A UDP socket sends over IPv4 to an address that the call names. Also an IPv6 socket, if the address is an IPv4 one.
#[cgroup_sock_addr(sendmsg4)]
pub fn np_sendmsg4(ctx: SockAddrContext) -> i32 {
    ahead4(&ctx)
}

/// A UDP socket sends over IPv6 to an address that the call names.
#[cgroup_sock_addr(sendmsg6)]
pub fn np_sendmsg6(ctx: SockAddrContext) -> i32 {
    ahead6(&ctx)
}

/// The sender of a datagram is shown to an IPv4 socket.
#[cgroup_sock_addr(recvmsg4)]
pub fn np_recvmsg4(ctx: SockAddrContext) -> i32 {
    back4(&ctx)
}

/// The sender of a datagram is shown to an IPv6 socket.
#[cgroup_sock_addr(recvmsg6)]
pub fn np_recvmsg6(ctx: SockAddrContext) -> i32 {
    back6(&ctx)
}

/// An IPv4 socket is asked for its peer.
#[cgroup_sock_addr(getpeername4)]
pub fn np_getpeername4(ctx: SockAddrContext) -> i32 {
    back4(&ctx)
}

/// An IPv6 socket is asked for its peer.
#[cgroup_sock_addr(getpeername6)]
pub fn np_getpeername6(ctx: SockAddrContext) -> i32 {
    back6(&ctx)
}

#[inline(always)]
fn ahead4(ctx: &SockAddrContext) -> i32 {
    match Call::of_node(ctx) {
        Some(call) => ahead::<V4Socket>(&call),
        None => GO_ON,
    }
}

#[inline(always)]
fn ahead6(ctx: &SockAddrContext) -> i32 {
    match Call::of_node(ctx) {
        Some(call) if V6Socket::is_mapped(&call) => ahead::<Mapped>(&call),
        Some(call) => ahead::<V6Socket>(&call),
        None => GO_ON,
    }
}

#[inline(always)]
fn back4(ctx: &SockAddrContext) -> i32 {
    if let Some(call) = Call::of_node(ctx) {
        back::<V4Socket>(&call);
    }
    GO_ON
}

#[inline(always)]
fn back6(ctx: &SockAddrContext) -> i32 {
    if let Some(call) = Call::of_node(ctx) {
        if V6Socket::is_mapped(&call) {
            back::<Mapped>(&call);
        } else {
            back::<V6Socket>(&call);
        }
    }
    GO_ON
}
