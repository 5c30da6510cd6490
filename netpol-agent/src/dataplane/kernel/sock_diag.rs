//! Datagram sockets of the network namespace (`NETLINK_SOCK_DIAG`): which are connected, and an end to one of them. Layouts are
//! those of include/uapi/linux/inet_diag.h.

use std::io;

use bytemuck::{Pod, Zeroable};
use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netpol_common::net::{Address, Be16, V4, V6, proto};

use super::netlink::{Netlink, NetlinkError};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// A datagram socket that is connected has the state of an established connection (`TCP_ESTABLISHED`).
const CONNECTED: u32 = 1 << 1;

/// `struct inet_diag_sockid`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Id {
    sport: Be16,
    dport: Be16,
    src: [u32; 4],
    dst: [u32; 4],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
struct Request {
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: Id,
}

/// The head of `struct inet_diag_msg`
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Answer {
    family: u8,
    state: u8,
    timer: u8,
    retransmits: u8,
    id: Id,
}

/// A question or an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    List(u8),
    Destroy(Socket),
    Found(Socket),
}

/// A connected datagram socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Socket {
    /// `AF_INET` or `AF_INET6`
    family: u8,
    id: Id,
}

impl Socket {
    /// As programs know it (`bpf_get_socket_cookie`).
    pub(super) fn cookie(&self) -> u64 {
        let [low, high] = self.id.cookie;
        u64::from(low) | u64::from(high) << 32
    }

    /// Family of its packets (4 or 6), address and port that they go to.
    pub(super) fn peer(&self) -> (u8, [u32; 4], Be16) {
        let [first, _, _, last] = self.id.dst;
        let (family, addr) = match i32::from(self.family) {
            libc::AF_INET => (V4::FAMILY, V4(first).to_words()),
            _ if V6(self.id.dst).is_mapped() => (V4::FAMILY, V4(last).to_words()),
            _ => (V6::FAMILY, self.id.dst),
        };
        (family, addr, self.id.dport)
    }
}

/// Every connected UDP socket of the network namespace that the netlink socket is of.
pub(super) fn connected(netlink: &mut Netlink<Message>) -> Result<Vec<Socket>, NetlinkError> {
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        netlink.walk("list the node's sockets", Message::List(family as u8), |answer| {
            if let Message::Found(socket) = answer {
                sockets.push(socket);
            }
        })?;
    }
    Ok(sockets)
}

/// Ends a socket: its process gets `ECONNABORTED` from `recv`, `EDESTADDRREQ` from `send`, and may connect it anew. One that has gone is none to end.
pub(super) fn end(netlink: &mut Netlink<Message>, socket: Socket) -> Result<(), NetlinkError> {
    match netlink.change("end a socket", Message::Destroy(socket), 0) {
        Err(error) if error.is(libc::ENOENT) || error.is(libc::ESTALE) => Ok(()),
        result => result,
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        match self {
            Self::Destroy(_) => SOCK_DESTROY,
            Self::List(_) | Self::Found(_) => SOCK_DIAG_BY_FAMILY,
        }
    }

    fn buffer_len(&self) -> usize {
        size_of::<Request>()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (family, id) = match self {
            Self::List(family) => (*family, Id::default()),
            Self::Destroy(Socket { family, id }) | Self::Found(Socket { family, id }) => (*family, *id),
        };
        let request = Request { family, protocol: proto::UDP, extensions: 0, pad: 0, states: CONNECTED, id };
        buffer.copy_from_slice(bytemuck::bytes_of(&request));
    }
}

impl NetlinkDeserializable for Message {
    type Error = io::Error;

    fn deserialize(_header: &NetlinkHeader, payload: &[u8]) -> io::Result<Self> {
        let answer = payload.get(..size_of::<Answer>()).map(bytemuck::pod_read_unaligned::<Answer>);
        let Answer { family, id, .. } = answer.ok_or_else(|| io::Error::other("an answer is too short"))?;
        Ok(Self::Found(Socket { family, id }))
    }
}
