//! A network namespace that exists for the self-test: one interface, one neighbour behind it.

use std::{io, net::Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressMessage},
    link::{
        AfSpecInet, AfSpecUnspec, InetDevConf, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags,
        LinkInfo, LinkMessage,
    },
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use super::super::netlink::{Netlink, NetlinkError};

/// Index of the loopback, by which frames come in when nobody says by which.
pub(super) const LOOPBACK: u32 = 1;
/// Index of its interface.
pub(super) const IFINDEX: u32 = 10;
/// The interface's MAC address.
pub(super) const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The neighbour's.
pub(super) const NEIGHBOUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// From a range for documentation (RFC 5737).
pub(super) const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("cannot make a network namespace")]
    Namespace(#[source] io::Error),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Moves the calling thread into such a namespace, which ends with it.
pub(super) fn enter() -> Result<(), StageError> {
    // SAFETY: a system call without pointers; it changes nothing but where this thread's new sockets belong.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(StageError::Namespace(io::Error::last_os_error()));
    }
    let mut netlink = Netlink::open()?;
    let create = NLM_F_CREATE | NLM_F_EXCL;
    let mut link = interface(IFINDEX, "test0", OWN_MAC);
    let peer = InfoData::Veth(InfoVeth::Peer(interface(IFINDEX + 1, "test1", NEIGHBOUR_MAC)));
    let kind = LinkInfo::Kind(InfoKind::Veth);
    link.attributes.push(LinkAttribute::LinkInfo(vec![kind, LinkInfo::Data(peer)]));
    netlink.change("create a veth", Message::NewLink(link), create)?;
    for index in [IFINDEX, IFINDEX + 1] {
        netlink.change("set a veth up", Message::SetLink(up(index)), 0)?;
    }

    let mut address = AddressMessage::default();
    address.header.family = AddressFamily::Inet;
    address.header.prefix_len = 24;
    address.header.index = IFINDEX;
    address.attributes = vec![AddressAttribute::Local(OWN.into()), AddressAttribute::Address(OWN.into())];
    netlink.change("add an address", Message::NewAddress(address), create)?;
    for index in [LOOPBACK, IFINDEX] {
        netlink.change("let an interface forward", Message::SetLink(forwarding(index)), 0)?;
    }

    let mut neighbour = NeighbourMessage::default();
    neighbour.header.family = AddressFamily::Inet;
    neighbour.header.ifindex = IFINDEX;
    neighbour.header.state = NeighbourState::Permanent;
    neighbour.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(NEIGHBOUR)),
        NeighbourAttribute::LinkLayerAddress(NEIGHBOUR_MAC.into()),
    ];
    Ok(netlink.change("add a neighbour", Message::NewNeighbour(neighbour), create)?)
}

fn interface(index: u32, name: &str, mac: [u8; 6]) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Address(mac.into())];
    link
}

/// By netlink, since in a container `/proc/sys` cannot be written.
fn forwarding(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    let mut configuration = InetDevConf::default();
    configuration.forwarding = 1;
    let inet = AfSpecInet::DevConfRequest(configuration);
    link.attributes = vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![inet])])];
    link
}

fn up(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}
