//! Questions and changes by rtnetlink: one request, its answers, done. Requests take microseconds, so nothing here is
//! asynchronous.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

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

/// A socket for requests, bound to the network namespace it was opened in.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// How often a dump that something interrupted is begun anew.
const ATTEMPTS: usize = 8;

impl Netlink {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            // Without it the kernel ignores the interface and namespace that a dump is asked for.
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| NetlinkError { request: "open a socket", source })?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for one object.
    pub(super) fn ask(
        &mut self,
        request: &'static str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.exchange(message, NLM_F_ACK)
            .map(|answer| answer.messages)
            .map_err(|source| NetlinkError { request, source })
    }

    /// Has the kernel change something; `flags` are `NLM_F_CREATE` and the like.
    pub(super) fn change(
        &mut self,
        request: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, NLM_F_ACK | flags).map(drop).map_err(|source| NetlinkError { request, source })
    }

    /// Asks for all objects, as they were at one moment.
    pub(super) fn dump(
        &mut self,
        request: &'static str,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        for _ in 0..ATTEMPTS {
            let answer = self
                .exchange(message.clone(), NLM_F_DUMP)
                .map_err(|source| NetlinkError { request, source })?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(NetlinkError { request, source: io::Error::other("the list changed each time it was read") })
    }

    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let mut answer = Answer::default();
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            if answer.read(&bytes, self.sequence)? {
                return Ok(answer);
            }
        }
    }
}

#[derive(Default)]
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

impl Answer {
    /// Takes one datagram in; whether that was the end.
    fn read(&mut self, bytes: &[u8], sequence: u32) -> io::Result<bool> {
        for message in messages(bytes) {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).map_err(io::Error::other)?;
            if message.header.sequence_number != sequence {
                continue;
            }
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
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
