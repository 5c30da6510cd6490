//! Questions and changes by netlink: one request, its answers, done. Requests take microseconds (a walk over the node's
//! connections takes longer, and is asked for once), so nothing here is asynchronous.

use std::{io, marker::PhantomData};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG},
};

use super::sock_diag;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("netlink: {request}")]
pub struct NetlinkError {
    /// What was asked.
    pub request: &'static str,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl NetlinkError {
    /// Whether the kernel answered with this number (positive).
    pub(super) fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

/// A socket for requests of one protocol, bound to the network namespace it was opened in.
pub(super) struct Netlink<M = RouteNetlinkMessage> {
    socket: Socket,
    sequence: u32,
    messages: PhantomData<fn(M) -> M>,
}

/// How often a dump that something interrupted is begun anew.
const ATTEMPTS: usize = 8;

impl Netlink {
    /// For interfaces, addresses and filters.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            // Without it the kernel ignores the interface and namespace that a dump is asked for.
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        };
        Self::on(open())
    }
}

impl Netlink<NetfilterMessage> {
    /// For what netfilter knows.
    pub(super) fn open_netfilter() -> Result<Self, NetlinkError> {
        Self::open_for(NETLINK_NETFILTER)
    }
}

impl Netlink<sock_diag::Message> {
    /// For the sockets of the network namespace.
    pub(super) fn open_sockets() -> Result<Self, NetlinkError> {
        Self::open_for(NETLINK_SOCK_DIAG)
    }
}

impl<M: NetlinkSerializable + NetlinkDeserializable + Clone> Netlink<M> {
    /// For messages of a protocol (`NETLINK_…`) that are laid out by whoever asks.
    pub(super) fn open_for(protocol: isize) -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            Ok(socket)
        };
        Self::on(open())
    }

    fn on(socket: io::Result<Socket>) -> Result<Self, NetlinkError> {
        let socket = socket.map_err(|source| NetlinkError { request: "open a socket", source })?;
        Ok(Self { socket, sequence: 0, messages: PhantomData })
    }

    /// Asks for one object.
    pub(super) fn ask(&mut self, request: &'static str, message: M) -> Result<Vec<M>, NetlinkError> {
        let mut answers = Vec::new();
        self.exchange(message, NLM_F_ACK, |answer| answers.push(answer))
            .map_err(|source| NetlinkError { request, source })?;
        Ok(answers)
    }

    /// Has the kernel change something; `flags` are `NLM_F_CREATE` and the like.
    pub(super) fn change(
        &mut self,
        request: &'static str,
        message: M,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, NLM_F_ACK | flags, drop)
            .map(drop)
            .map_err(|source| NetlinkError { request, source })
    }

    /// Asks for all objects, as they were at one moment.
    pub(super) fn dump(&mut self, request: &'static str, message: &M) -> Result<Vec<M>, NetlinkError> {
        for _ in 0..ATTEMPTS {
            let mut answers = Vec::new();
            let whole = self
                .exchange(message.clone(), NLM_F_DUMP, |answer| answers.push(answer))
                .map_err(|source| NetlinkError { request, source })?;
            if whole == Whole::Yes {
                return Ok(answers);
            }
        }
        Err(NetlinkError { request, source: io::Error::other("the list changed each time it was read") })
    }

    /// Shows `look` every object; of those that come and go meanwhile some, of those that are there throughout all.
    pub(super) fn walk(
        &mut self,
        request: &'static str,
        message: M,
        look: impl FnMut(M),
    ) -> Result<(), NetlinkError> {
        self.exchange(message, NLM_F_DUMP, look).map(drop).map_err(|source| NetlinkError { request, source })
    }

    fn exchange(&mut self, message: M, flags: u16, mut look: impl FnMut(M)) -> io::Result<Whole> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let mut whole = Whole::Yes;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            if read(&bytes, self.sequence, &mut whole, &mut look)? {
                return Ok(whole);
            }
        }
    }
}

/// Whether an answer tells how things were at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    Interrupted,
}

/// Takes one datagram in; whether that was the end.
fn read<M: NetlinkDeserializable>(
    bytes: &[u8],
    sequence: u32,
    whole: &mut Whole,
    look: &mut impl FnMut(M),
) -> io::Result<bool> {
    for message in messages(bytes) {
        let message = NetlinkMessage::<M>::deserialize(message).map_err(io::Error::other)?;
        if message.header.sequence_number != sequence {
            continue;
        }
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            *whole = Whole::Interrupted;
        }
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => look(inner),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Error(_) => return Ok(true),
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(-done.code));
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Overrun(_) => return Err(io::Error::other("answers were lost")),
            _ => {}
        }
    }
    Ok(false)
}

/// The messages of a datagram, undecoded; what is cut short at its end is left out.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = NetlinkBuffer::new_checked(&bytes).ok()?.length() as usize;
        let message = bytes.get(..length)?;
        // NLMSG_ALIGN
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}
