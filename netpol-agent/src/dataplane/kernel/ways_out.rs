//! Which interfaces of the node lead out of it: `docs/adr/0093-uplinks.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    str::FromStr,
};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressHeaderFlags, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage},
    route::{RouteAttribute, RouteMessage},
};
use netpol_common::uplink::UplinkRow;

use super::{
    XdpChoice,
    netlink::{Netlink, NetlinkError},
    veth,
};

/// Which uplinks are to be used, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UplinkOptions {
    /// Which.
    pub choice: UplinkChoice,
    /// First and last source port for connections from outside to backends of other nodes.
    pub ports: (u16, u16),
    /// Which of them get the XDP program.
    pub xdp: XdpChoice,
}

impl Default for UplinkOptions {
    fn default() -> Self {
        Self { choice: UplinkChoice::Auto, ports: UplinkRow::PORTS, xdp: XdpChoice::default() }
    }
}

/// Which interfaces are uplinks: the value of `--uplinks`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UplinkChoice {
    /// Those that carry a default route, or an address of the node and are no bridge.
    Auto,
    /// None: somebody else serves clients from outside.
    Off,
    /// Those with these names.
    Named(BTreeSet<String>),
}

impl FromStr for UplinkChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "off" => Self::Off,
            names => Self::Named(names.split(',').map(str::to_owned).collect()),
        })
    }
}

/// An interface that leads out of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WayOut {
    pub(super) name: String,
    pub(super) is_veth: bool,
    pub(super) mac: [u8; 6],
    pub(super) row: UplinkRow,
}

/// The uplinks by index. Only interfaces with Ethernet headers can be one: the programs read packets from there on.
pub(super) fn find(
    netlink: &mut Netlink,
    options: &UplinkOptions,
    no_pods: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, WayOut>, NetlinkError> {
    let mut found = BTreeMap::new();
    if options.choice == UplinkChoice::Off {
        return Ok(found);
    }
    let answers = netlink.dump("list interfaces", &Message::GetLink(LinkMessage::default()))?;
    let addresses = addresses(netlink)?;
    let routed = default_routes(netlink)?;
    for answer in &answers {
        let Message::NewLink(link) = answer else { continue };
        let ifindex = link.header.index;
        let Description { name, kind, mac } = describe(link);
        let is_bridge = kind == Some(InfoKind::Bridge);
        if link.header.link_layer_type != LinkLayerType::Ether || !no_pods.contains(&ifindex) {
            continue;
        }
        let own = addresses.get(&ifindex).map_or(&[][..], Vec::as_slice);
        let is_one = match &options.choice {
            UplinkChoice::Auto => routed.contains(&ifindex) || (!own.is_empty() && !is_bridge),
            UplinkChoice::Off => false,
            UplinkChoice::Named(names) => names.contains(&name),
        };
        if is_one {
            let is_veth = kind == Some(InfoKind::Veth);
            found.insert(ifindex, WayOut { name, is_veth, mac, row: row(own, options.ports) });
        }
    }
    Ok(found)
}

fn row(addresses: &[IpAddr], (first_port, last_port): (u16, u16)) -> UplinkRow {
    let mut row = UplinkRow { first_port, last_port, ..UplinkRow::default() };
    // The first one of each family: what the kernel prefers as a source comes first.
    for addr in addresses.iter().rev() {
        match addr {
            IpAddr::V4(addr) => row.addr4 = (*addr).into(),
            IpAddr::V6(addr) => row.addr6 = (*addr).into(),
        }
    }
    row
}

#[derive(Default)]
struct Description {
    name: String,
    kind: Option<InfoKind>,
    mac: [u8; 6],
}

fn describe(link: &LinkMessage) -> Description {
    let mut found = Description::default();
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => found.name.clone_from(text),
            LinkAttribute::Address(mac) => found.mac = mac.as_slice().try_into().unwrap_or_default(),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(of) = info {
                        found.kind = Some(of.clone());
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// Global addresses by interface, without those that are about to go.
fn addresses(netlink: &mut Netlink) -> Result<BTreeMap<u32, Vec<IpAddr>>, NetlinkError> {
    let passing =
        AddressHeaderFlags::Deprecated | AddressHeaderFlags::Dadfailed | AddressHeaderFlags::Tentative;
    let answers =
        netlink.dump("list the node's addresses", &Message::GetAddress(AddressMessage::default()))?;
    let mut addresses: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for answer in &answers {
        let Message::NewAddress(message) = answer else { continue };
        if !message.header.flags.intersects(passing)
            && let Some(addr) = veth::global(message)
        {
            addresses.entry(message.header.index).or_default().push(addr);
        }
    }
    Ok(addresses)
}

/// Interfaces with a default route.
fn default_routes(netlink: &mut Netlink) -> Result<BTreeSet<u32>, NetlinkError> {
    let mut interfaces = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        netlink.walk("list routes", Message::GetRoute(request), |answer| {
            let Message::NewRoute(route) = answer else { return };
            if route.header.destination_prefix_length != 0 {
                return;
            }
            interfaces.extend(route.attributes.iter().flat_map(|attribute| match attribute {
                RouteAttribute::Oif(ifindex) => vec![*ifindex],
                RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
                _ => Vec::new(),
            }));
        })?;
    }
    Ok(interfaces)
}
