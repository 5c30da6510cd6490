//! What the kernel calls the network namespace that the agent works in.

use std::{
    fs, io,
    net::UdpSocket,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
};

use netpol_common::socket::INITIAL;

/// `SO_NETNS_COOKIE` of include/uapi/asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The namespace cannot be named to a program.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetnsError {
    #[error("cannot ask for the cookie of the network namespace")]
    Ask(#[source] io::Error),
    #[error(
        "kernels before 5.14 tell no network namespace's cookie, and this one is not that of process 1: run the agent in the \
         host's network and process namespaces"
    )]
    Unknown,
}

/// The cookie of this thread's network namespace, as programs compare it ([`netpol_common::names::NODE_NETNS`]).
pub(super) fn current() -> Result<u64, NetnsError> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_no_ipv4| UdpSocket::bind("[::1]:0"));
    match cookie(&socket.map_err(NetnsError::Ask)?) {
        Ok(cookie) => Ok(cookie),
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => first(),
        Err(error) => Err(NetnsError::Ask(error)),
    }
}

fn cookie(socket: &UdpSocket) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` has `length` writable bytes, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Process 1 of the machine is in the kernel's first namespace.
fn first() -> Result<u64, NetnsError> {
    let namespace = |path| fs::metadata(path).map(|namespace| (namespace.dev(), namespace.ino()));
    match (namespace("/proc/thread-self/ns/net"), namespace("/proc/1/ns/net")) {
        (Ok(own), Ok(first)) if own == first => Ok(INITIAL),
        (Err(error), _) | (_, Err(error)) => Err(NetnsError::Ask(error)),
        _ => Err(NetnsError::Unknown),
    }
}
