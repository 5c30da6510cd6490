//! One system call on one socket.

use core::ptr::null_mut;

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    programs::SockAddrContext,
};
use netpol_common::{net::proto, socket::INITIAL};

use super::constants;

/// The kernel's context. Fields are read and written one by one and as wide as they are: it allows nothing else.
pub struct Call(*mut bpf_sock_addr);

impl Call {
    /// `None` if the socket is not the node's.
    #[inline(always)]
    pub fn of_node(ctx: &SockAddrContext) -> Option<Self> {
        let node = match constants::node_netns() {
            0 => return None,
            // SAFETY: without a socket the helper tells the cookie of the first namespace.
            INITIAL => unsafe { bpf_get_netns_cookie(null_mut()) },
            cookie => cookie,
        };
        // SAFETY: the context is the kernel's.
        (unsafe { bpf_get_netns_cookie(ctx.sock_addr.cast()) } == node).then_some(Self(ctx.sock_addr))
    }

    #[inline(always)]
    pub(super) fn raw(&self) -> *mut bpf_sock_addr {
        self.0
    }

    /// TCP or UDP; of the others no Service is known here.
    #[inline(always)]
    pub(super) fn protocol(&self) -> Option<u8> {
        // SAFETY: the context pointer is the kernel's and lives as long as the program.
        match unsafe { (&raw const (*self.0).protocol).read_volatile() } {
            number if number == u32::from(proto::TCP) => Some(proto::TCP),
            number if number == u32::from(proto::UDP) => Some(proto::UDP),
            _ => None,
        }
    }

    /// Names the socket, and no other one ever.
    #[inline(always)]
    pub(super) fn cookie(&self) -> u64 {
        // SAFETY: the context is the kernel's.
        unsafe { bpf_get_socket_cookie(self.0.cast()) }
    }

    /// What the call fails with if it does. Kernels before 6.1 say `EPERM` always.
    #[inline(always)]
    pub(super) fn says_why(&self, errno: i32) {
        if constants::says_why() {
            // SAFETY: takes a number only. Where the kernel lacks the helper, the constant says so, and the verifier cuts
            // this out before it looks at the helper.
            unsafe { bpf_set_retval(-errno) };
        }
    }
}
