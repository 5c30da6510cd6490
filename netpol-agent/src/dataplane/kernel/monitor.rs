//! What happens to interfaces and addresses, in the node's network namespace and in every one it has a number for.

use std::{io, os::fd::AsRawFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    netlink::{NetlinkError, messages},
    veth::Link,
};

/// Multicast groups (`enum rtnetlink_groups`): LINK, TC, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, NSID.
const GROUPS: [u32; 7] = [1, 4, 5, 7, 9, 11, 28];
/// A burst of notifications that may wait to be read.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// Longer than any notification (the kernel allocates a page or two for one).
const DATAGRAM: usize = 64 << 10;

/// Something that discovery has to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// An interface of the node is there, or has changed.
    Link(Link),
    /// An interface of the node is gone.
    Gone(u32),
    /// An interface of the namespace with this number has left it: for good, or for another one.
    GoneFrom(i32, u32),
    /// Addresses in a namespace with this number have changed.
    Addresses(i32),
    /// The node's own addresses or default routes have changed.
    Node,
    /// A filter or a qdisc of the node is gone.
    Programs,
    /// A namespace got or lost its number.
    Namespaces,
    /// Notifications were lost or not understood: nothing is known for sure.
    Lost,
}

/// A subscription.
pub(super) struct Monitor {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Must be called within a tokio runtime.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let open = || -> io::Result<AsyncFd<Socket>> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
            // One socket hears the pods' namespaces too; each notification says which one it is from.
            socket.set_listen_all_namespaces(true)?;
            for group in GROUPS {
                socket.add_membership(group)?;
            }
            // SAFETY: the socket owns its descriptor, and `AsyncFd` owns the socket from here on.
            Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
        };
        let socket = open().map_err(|source| NetlinkError { request: "subscribe", source })?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM] })
    }

    /// Waits for the next notification, and takes all that are there.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, NetlinkError> {
        loop {
            let mut ready = self.socket.readable_mut().await.map_err(failed)?;
            let events = take(ready.get_inner(), &mut self.buffer)?;
            ready.clear_ready();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// What is there now. The kernel queues a notification before the change that it is about returns.
    pub(super) fn pending(&mut self) -> Result<Vec<Event>, NetlinkError> {
        take(self.socket.get_ref(), &mut self.buffer)
    }
}

fn failed(source: io::Error) -> NetlinkError {
    NetlinkError { request: "read notifications", source }
}

fn take(socket: &Socket, buffer: &mut [u8]) -> Result<Vec<Event>, NetlinkError> {
    let mut events = Vec::new();
    loop {
        match receive(socket, buffer) {
            Ok((length, nsid)) => events.extend(decode(buffer.get(..length).unwrap_or_default(), nsid)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => events.push(Event::Lost),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// One datagram, and the number of the namespace it is from (`None`: the node's own).
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, Option<i32>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = [0u64; 16];
    // SAFETY: all-zero is a valid msghdr: no name, no parts, no control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the header names `buffer` and `control` with their lengths; both outlive the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }
    let mut nsid = None;
    // SAFETY: the kernel filled `control` and said how much of it; the header still points to it.
    let mut item = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !item.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header inside `control`, which is aligned for it.
        let cmsghdr { level, kind, length } = unsafe { cmsghdr::read(item) };
        if level == libc::SOL_NETLINK && kind == libc::NETLINK_LISTEN_ALL_NSID && length >= size_of::<i32>() {
            // SAFETY: the item holds at least four bytes of data; their alignment is not assumed.
            nsid = Some(unsafe { libc::CMSG_DATA(item).cast::<i32>().read_unaligned() });
        }
        // SAFETY: `item` is an item of this header.
        item = unsafe { libc::CMSG_NXTHDR(&raw const header, item) };
    }
    Ok((length as usize, nsid))
}

/// What an item of control data says of itself; `length` is that of its data.
#[expect(non_camel_case_types, reason = "named like the kernel's")]
struct cmsghdr {
    level: libc::c_int,
    kind: libc::c_int,
    length: usize,
}

impl cmsghdr {
    /// # Safety
    ///
    /// `item` must point to a whole, aligned header.
    unsafe fn read(item: *const libc::cmsghdr) -> Self {
        // SAFETY: the caller's promise.
        let header = unsafe { item.read() };
        // SAFETY: arithmetic only.
        let overhead = unsafe { libc::CMSG_LEN(0) } as usize;
        Self {
            level: header.cmsg_level,
            kind: header.cmsg_type,
            length: header.cmsg_len.saturating_sub(overhead),
        }
    }
}

fn decode(bytes: &[u8], nsid: Option<i32>) -> impl Iterator<Item = Event> {
    messages(bytes).filter_map(move |message| {
        let payload = match NetlinkMessage::<Message>::deserialize(message) {
            Ok(message) => message.payload,
            Err(error) => {
                tracing::debug!(%error, "a notification that is not understood");
                return Some(Event::Lost);
            }
        };
        let NetlinkPayload::InnerMessage(inner) = payload else { return None };
        match (inner, nsid) {
            (Message::NewLink(link), None) => Link::from_message(&link).map(Event::Link),
            // With the bridge's family the message says that a port left its bridge.
            (Message::DelLink(link), nsid) if link.header.interface_family == AddressFamily::Unspec => {
                let ifindex = link.header.index;
                Some(nsid.map_or(Event::Gone(ifindex), |nsid| Event::GoneFrom(nsid, ifindex)))
            }
            (Message::NewAddress(_) | Message::DelAddress(_), Some(nsid)) => Some(Event::Addresses(nsid)),
            (Message::NewAddress(_) | Message::DelAddress(_), None) => Some(Event::Node),
            (Message::NewRoute(route) | Message::DelRoute(route), None) => {
                (route.header.destination_prefix_length == 0).then_some(Event::Node)
            }
            (Message::DelTrafficFilter(_) | Message::DelQueueDiscipline(_), None) => Some(Event::Programs),
            (Message::NewNsId(_) | Message::DelNsId(_), None) => Some(Event::Namespaces),
            _ => None,
        }
    })
}
