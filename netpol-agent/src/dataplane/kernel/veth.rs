//! The node's interfaces: veths, and all others.

use std::net::IpAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressMessage, AddressScope},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::netlink::{Netlink, NetlinkError};

/// An interface of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Link {
    /// A pod may be behind it.
    Veth(Veth),
    /// Of another kind, with this index.
    Other(u32),
}

impl Link {
    /// `None` for messages about a bridge's port instead of an interface.
    pub(super) fn from_message(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        Some(Veth::from_message(message).map_or(Self::Other(message.header.index), Self::Veth))
    }
}

/// The host side of a veth pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Veth {
    /// Index in the node's network namespace.
    pub(super) ifindex: u32,
    /// Name in the node's network namespace.
    pub(super) name: String,
    /// Index of the other side, in its namespace.
    pub(super) peer: u32,
    /// What the node's namespace calls the namespace of the other side; `None`: it is the same, or has no number.
    pub(super) nsid: Option<i32>,
    /// The other side is in the node's namespace, too.
    pub(super) within: bool,
    /// Both sides are up: only then anything comes through.
    pub(super) carrier: bool,
    /// Index of the bridge it is a port of, 0 if none.
    pub(super) master: u32,
}

impl Veth {
    /// `None` for other kinds.
    fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut veth = Self {
            ifindex: message.header.index,
            name: String::new(),
            peer: 0,
            nsid: None,
            within: false,
            carrier: message.header.flags.contains(LinkFlags::LowerUp),
            master: 0,
        };
        let (mut is_veth, mut leads_elsewhere) = (false, false);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => veth.name.clone_from(name),
                LinkAttribute::Link(peer) => veth.peer = *peer,
                LinkAttribute::LinkNetNsId(nsid) => {
                    leads_elsewhere = true;
                    veth.nsid = (*nsid >= 0).then_some(*nsid);
                }
                LinkAttribute::Controller(master) => veth.master = *master,
                LinkAttribute::LinkInfo(infos) => {
                    is_veth |= infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth)));
                }
                _ => {}
            }
        }
        // A pair that is being made is announced before its sides know each other.
        veth.within = veth.peer != 0 && !leads_elsewhere;
        is_veth.then_some(veth)
    }
}

/// All of them.
pub(super) fn links(netlink: &mut Netlink) -> Result<Vec<Link>, NetlinkError> {
    let answers = netlink.dump("list interfaces", &Message::GetLink(LinkMessage::default()))?;
    Ok(answers.iter().filter_map(link).collect())
}

/// All veths.
pub(super) fn list(netlink: &mut Netlink) -> Result<Vec<Veth>, NetlinkError> {
    let links = links(netlink)?.into_iter();
    Ok(links
        .filter_map(|link| match link {
            Link::Veth(veth) => Some(veth),
            Link::Other(_) => None,
        })
        .collect())
}

/// `IFLA_TARGET_NETNSID` of include/uapi/linux/if_link.h.
const IFLA_TARGET_NETNSID: u16 = 46;

/// The interfaces of a namespace with a number, without loopback: index, name, and kind in words.
pub(super) fn others_in(
    netlink: &mut Netlink,
    nsid: i32,
) -> Result<Vec<(u32, String, String)>, NetlinkError> {
    let mut request = LinkMessage::default();
    let target = DefaultNla::new(IFLA_TARGET_NETNSID, nsid.to_ne_bytes().to_vec());
    request.attributes.push(LinkAttribute::Other(target));
    let answers = match netlink.dump("list a namespace's interfaces", &Message::GetLink(request)) {
        Ok(answers) => answers,
        // It has gone meanwhile.
        Err(error) if error.is(libc::EINVAL) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            Message::NewLink(message) if !message.header.flags.contains(LinkFlags::Loopback) => {
                Some(described(message))
            }
            _ => None,
        })
        .collect())
}

fn described(message: &LinkMessage) -> (u32, String, String) {
    let (mut name, mut kind) = (String::new(), "a device of the node".to_owned());
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name.clone_from(text),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Veth) => kind = "a veth that leads to no node".to_owned(),
                        LinkInfo::Kind(other) => kind = format!("of kind {other}"),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    (message.header.index, name, kind)
}

/// One interface as it is now; `None` if it is gone.
pub(super) fn look(netlink: &mut Netlink, ifindex: u32) -> Result<Option<Link>, NetlinkError> {
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    match netlink.ask("ask for an interface", Message::GetLink(request)) {
        Ok(answers) => Ok(answers.iter().find_map(link)),
        Err(error) if error.is(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn link(answer: &Message) -> Option<Link> {
    match answer {
        Message::NewLink(message) => Link::from_message(message),
        _ => None,
    }
}

/// The indexes of all interfaces of the node, of whatever kind.
pub(super) fn indexes(netlink: &mut Netlink) -> Result<Vec<u32>, NetlinkError> {
    let answers = netlink.dump("list interfaces", &Message::GetLink(LinkMessage::default()))?;
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            Message::NewLink(message) => Some(message.header.index),
            _ => None,
        })
        .collect())
}

/// The global addresses of an interface in another namespace, in order; none if the namespace is gone.
pub(super) fn peer_addresses(
    netlink: &mut Netlink,
    nsid: i32,
    peer: u32,
) -> Result<Vec<IpAddr>, NetlinkError> {
    let mut addresses = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = AddressMessage::default();
        request.header.family = family;
        request.header.index = peer;
        request.attributes.push(AddressAttribute::TargetNetNsId(nsid));
        let answers = match netlink.dump("list a pod's addresses", &Message::GetAddress(request)) {
            Ok(answers) => answers,
            // No such interface, or no such namespace: a notification about it is on its way.
            Err(error) if error.is(libc::ENODEV) || error.is(libc::EINVAL) => continue,
            Err(error) => return Err(error),
        };
        addresses.extend(answers.iter().filter_map(|answer| match answer {
            Message::NewAddress(message) => global(message),
            _ => None,
        }));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// The global addresses of the node's own network namespace.
pub(super) fn own_addresses(netlink: &mut Netlink) -> Result<Vec<IpAddr>, NetlinkError> {
    let answers =
        netlink.dump("list the node's addresses", &Message::GetAddress(AddressMessage::default()))?;
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            Message::NewAddress(message) => global(message),
            _ => None,
        })
        .collect())
}

pub(super) fn global(message: &AddressMessage) -> Option<IpAddr> {
    if message.header.scope != AddressScope::Universe {
        return None;
    }
    // On a point-to-point interface the plain attribute is the other end's address.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(addr) => Some(*addr),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(addr) => Some(*addr),
            _ => None,
        })
    })
}
