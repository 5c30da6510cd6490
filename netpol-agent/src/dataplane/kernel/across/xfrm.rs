//! IPsec policies: what they name is encrypted on its way through the node. Layouts are those of include/uapi/linux/xfrm.h.

use std::io;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator};
use netlink_sys::protocols::NETLINK_XFRM;

use super::{
    super::netlink::{Netlink, NetlinkError},
    Found, Obstacle,
};

/// `XFRM_MSG_GETSPDINFO`
const GET_INFO: u16 = 0x25;
/// `XFRMA_SPD_INFO`, `struct xfrmu_spdinfo`: how many policies there are for what comes in, goes out and is forwarded, then as many
/// numbers for those of sockets.
const INFO: u16 = 1;
const NUMBERS: usize = 3;
/// Bytes before the attributes, of question and answer.
const FLAGS: usize = 4;

/// A question, or how many policies there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Message {
    Ask,
    Policies(u32),
}

/// The socket that policies are counted by.
#[derive(Default)]
pub(super) struct Xfrm(Option<Netlink<Message>>);

impl Xfrm {
    /// Whether there are none.
    pub(super) fn look(&mut self) -> Found {
        let mut netlink = match self.0.take() {
            Some(netlink) => netlink,
            None if !is_there()? => return Ok(()),
            None => Netlink::open_for(NETLINK_XFRM).map_err(|error| unknown(&error))?,
        };
        let answers = netlink.ask("count IPsec policies", Message::Ask).map_err(|error| unknown(&error))?;
        self.0 = Some(netlink);
        let some = |answer: &Message| matches!(answer, Message::Policies(1..));
        if answers.iter().any(some) { Err(Obstacle::Xfrm) } else { Ok(()) }
    }
}

/// Whether the kernel has IPsec at work in this network namespace. To ask for a socket would have it load the module.
fn is_there() -> Result<bool, Obstacle> {
    const LIST: &str = "/proc/thread-self/net/netlink";
    let text =
        std::fs::read_to_string(LIST).map_err(|error| Obstacle::Unknown(format!("{LIST}: {error}")))?;
    let protocol = NETLINK_XFRM.to_string();
    // The second column is the protocol; the kernel's own socket is listed too.
    Ok(text.lines().any(|line| line.split_whitespace().nth(1) == Some(&protocol)))
}

fn unknown(error: &NetlinkError) -> Obstacle {
    Obstacle::Unknown(format!("{error}: {}", error.source))
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        GET_INFO
    }

    fn buffer_len(&self) -> usize {
        FLAGS
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl NetlinkDeserializable for Message {
    type Error = io::Error;

    fn deserialize(_header: &NetlinkHeader, payload: &[u8]) -> io::Result<Self> {
        let short = || io::Error::other("an answer is too short");
        for attribute in NlasIterator::new(payload.get(FLAGS..).ok_or_else(short)?) {
            let attribute = attribute.map_err(io::Error::other)?;
            if attribute.kind() == INFO {
                let (numbers, _) = attribute.value().as_chunks::<4>();
                let numbers = numbers.get(..NUMBERS).ok_or_else(short)?;
                return Ok(Self::Policies(numbers.iter().map(|bytes| u32::from_ne_bytes(*bytes)).sum()));
            }
        }
        Err(short())
    }
}
