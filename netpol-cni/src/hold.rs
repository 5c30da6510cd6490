//! A network namespace held shut from the inside, from before it has an interface until the pod's policy is in the kernel: a table of
//! nf_tables whose chains drop all that comes in and all that goes out. There is nothing on the node's side to close as long as
//! the plugin that makes the interface has not run.

use std::{fs::File, io, os::fd::AsFd, path::Path, thread};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Code, Error};

/// The table's name.
const TABLE: &[u8] = b"netpol-hold\0";
/// Base chains: name, and hook of include/uapi/linux/netfilter.h.
const CHAINS: [(&[u8], u32); 2] = [(b"in\0", NF_INET_PRE_ROUTING), (b"out\0", NF_INET_LOCAL_OUT)];

const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_LOCAL_OUT: u32 = 3;
const NFPROTO_INET: u8 = 1;
/// Before what a plugin may set up in the namespace.
const PRIORITY: i32 = -400;
const NF_DROP: u32 = 0;

// include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFT_MSG_NEWTABLE: u16 = NFNL_SUBSYS_NFTABLES << 8;
const NFT_MSG_DELTABLE: u16 = NFNL_SUBSYS_NFTABLES << 8 | 2;
const NFT_MSG_NEWCHAIN: u16 = NFNL_SUBSYS_NFTABLES << 8 | 3;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NLA_F_NESTED: u16 = 1 << 15;
// include/uapi/linux/netlink.h
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;

/// Shuts the namespace; one that is shut stays so.
pub(crate) fn hold(netns: &Path) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE, &attribute(NFTA_TABLE_NAME, TABLE));
    for (name, hook) in CHAINS {
        let place = [
            attribute(NFTA_HOOK_HOOKNUM, &hook.to_be_bytes()),
            attribute(NFTA_HOOK_PRIORITY, &PRIORITY.to_be_bytes()),
        ];
        let chain = [
            attribute(NFTA_CHAIN_TABLE, TABLE),
            attribute(NFTA_CHAIN_NAME, name),
            attribute(NFTA_CHAIN_HOOK | NLA_F_NESTED, &place.concat()),
            attribute(NFTA_CHAIN_POLICY, &NF_DROP.to_be_bytes()),
            attribute(NFTA_CHAIN_TYPE, b"filter\0"),
        ];
        batch.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &chain.concat());
    }
    within(netns, || batch.send()).map_err(|error| {
        let why = "the kernel needs nf_tables for it; without \"hold\" the plugin does not need it";
        Error::new(Code::Io, format!("cannot hold {} shut: {error} ({why})", netns.display()))
    })
}

/// Opens a namespace that was held; one that was not is no error.
pub(crate) fn release(netns: &Path) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.add(NFT_MSG_DELTABLE, 0, &attribute(NFTA_TABLE_NAME, TABLE));
    match within(netns, || batch.send()) {
        Err(error) if !is_absent(&error) => {
            Err(Error::new(Code::Io, format!("cannot open {}: {error}", netns.display())))
        }
        _ => Ok(()),
    }
}

/// No such table; or a kernel without nf_tables, which holds nothing.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::NOENT, Errno::OPNOTSUPP, Errno::INVAL, Errno::PROTONOSUPPORT];
    absent.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// On a thread of its own, which ends in the namespace.
fn within(netns: &Path, act: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    let namespace = File::open(netns)?;
    let inside = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        act()
    };
    thread::scope(|scope| {
        let ended = scope.spawn(inside).join();
        ended.unwrap_or_else(|_panic| Err(io::Error::other("a thread has panicked")))
    })
}

/// Messages that the kernel carries out together or not at all.
struct Batch {
    bytes: Vec<u8>,
    messages: u32,
}

impl Batch {
    fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), messages: 0 };
        batch.push(NFNL_MSG_BATCH_BEGIN, 0, &header(0, NFNL_SUBSYS_NFTABLES));
        batch
    }

    fn add(&mut self, kind: u16, flags: u16, attributes: &[u8]) {
        self.messages += 1;
        self.push(kind, NLM_F_ACK | flags, &[&header(NFPROTO_INET, 0), attributes].concat());
    }

    /// `struct nlmsghdr`, in host byte order, and what it heads.
    fn push(&mut self, kind: u16, flags: u16, payload: &[u8]) {
        let length = u32::try_from(16 + payload.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Sends it, and reads an answer for each message, or the first error.
    fn send(mut self) -> io::Result<()> {
        self.push(NFNL_MSG_BATCH_END, 0, &header(0, NFNL_SUBSYS_NFTABLES));
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.send_to(&self.bytes, &SocketAddr::new(0, 0), 0)?;
        let mut left = self.messages;
        while left > 0 {
            let (answer, _) = socket.recv_from_full()?;
            let mut rest = answer.as_slice();
            while let Some((code, next)) = acknowledged(rest) {
                rest = next;
                match code {
                    Some(0) => left = left.saturating_sub(1),
                    Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    None => {}
                }
            }
        }
        Ok(())
    }
}

/// The first of these messages: the error number in it (0: done) if it is an answer, and what follows.
fn acknowledged(bytes: &[u8]) -> Option<(Option<i32>, &[u8])> {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok());
    let length = u32::from_ne_bytes(word(0)?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let code = (kind == NLMSG_ERROR).then(|| word(16)).flatten().map(|word| -i32::from_ne_bytes(word));
    let rest = bytes.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
    Some((code, rest))
}

/// `struct nfgenmsg`
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// `struct nlattr`, in host byte order, with its padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
