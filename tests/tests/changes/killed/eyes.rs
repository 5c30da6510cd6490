//! What the loaded programs make of packets with the maps as an agent left them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::dataplane::{
    Backend, Dataplane, Frontend, Member, Rows, SourceRange,
    kernel::{LoadOptions, Maps, Object, RunContext},
};
use netpol_common::{
    endpoint::flags::ADOPTING,
    names,
    net::proto::{TCP, UDP},
    version::ABI_VERSION,
};
use netpol_tests::{
    bed::{Bed, Netns},
    packet::{SYN, tcp, udp},
};
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, Type};

/// `TC_ACT_SHOT`
const DROP: i32 = 2;
const ETHERNET: usize = 14;

/// Programs of its own on the maps that the agents of a node share.
pub(super) struct Eyes {
    object: Object,
    pub(super) maps: Maps,
    netns: Arc<Netns>,
    uplink: u32,
    next_port: u16,
}

/// A pod of the node, and which way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Way {
    FromPod,
    /// From another host.
    ToPod,
    /// From a host beyond the nodes, by the node's uplink.
    FromOutside,
}

/// The first packet of a connection between a pod of the node, or an address that Services have on it, and somebody who is
/// not on it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Opening {
    pub(super) pod: String,
    pub(super) way: Way,
    /// Index of the host side of its interface; the uplink's is not asked for.
    pub(super) ifindex: u32,
    pub(super) own: IpAddr,
    pub(super) other: IpAddr,
    pub(super) protocol: u8,
    pub(super) port: u16,
}

/// Where it went; `None`: nowhere.
pub(super) type Answers = BTreeMap<Opening, Option<SocketAddr>>;

impl Eyes {
    /// On the maps that an agent of this node has made.
    pub(super) fn open(bed: &Bed, node: &str) -> Result<Self> {
        let node = bed.node(node)?;
        let pins = node.folder.join("bpf/netpol").join(format!("v{ABI_VERSION}"));
        ensure!(pins.join(names::EP).exists(), "no maps are pinned in {}", pins.display());
        let options = LoadOptions { pin_dir: Some(pins), ..LoadOptions::default() };
        let mut object = Object::load(&options).context("loading the programs")?;
        let maps = Maps::new(&mut object)?;
        let socket = node.netns.socket(Domain::IPV4, Type::DGRAM, None)?;
        let uplink = name_to_index(&socket, "eth0")?;
        Ok(Self { object, maps, netns: node.netns.clone(), uplink, next_port: 20_000 })
    }

    /// Tries each as a new connection.
    pub(super) fn look(&mut self, openings: &[Opening]) -> Result<Answers> {
        let first = self.next_port;
        self.next_port = first.checked_add(1).context("no ports are left")?;
        let (object, uplink) = (&self.object, self.uplink);
        self.netns
            .enter(|| openings.iter().map(|o| Ok((o.clone(), run(object, o, first, uplink)?))).collect())
    }

    /// The rows, services by what they stand for instead of by where they lie.
    pub(super) fn rows(&self) -> Result<(Rows, Services)> {
        Ok(canonical(self.maps.read()?))
    }
}

fn run(object: &Object, opening: &Opening, own_port: u16, uplink: u32) -> Result<Option<SocketAddr>> {
    let Opening { way, ifindex, own, other, protocol, port, .. } = opening;
    let (program, ingress_ifindex, from, to) = match way {
        Way::FromPod => (names::FROM_POD, 0, *own, *other),
        Way::ToPod => (names::TO_POD, uplink, *other, *own),
        Way::FromOutside => (names::FROM_NETDEV, 0, *other, *own),
    };
    let ifindex = if *way == Way::FromOutside { uplink } else { *ifindex };
    let (from, to) = (SocketAddr::new(from, own_port), SocketAddr::new(to, *port));
    let packet = match *protocol {
        TCP => tcp(from, to, SYN, b""),
        UDP => udp(from, to, b"?"),
        other => bail!("protocol {other}"),
    };
    let context = RunContext { ifindex, ingress_ifindex, repeat: 1, mark: 0 };
    let outcome = object.test_run(program, &packet, context).with_context(|| format!("{opening:?}"))?;
    if outcome.action == DROP {
        return Ok(None);
    }
    let went_to = destination(&outcome.packet, to)?;
    // A refusal is the packet itself, turned round.
    Ok((went_to != from).then_some(went_to))
}

/// Address and port that the packet has afterwards.
fn destination(packet: &[u8], asked: SocketAddr) -> Result<SocketAddr> {
    let part = |from: usize, len: usize| {
        packet.get(ETHERNET + from..ETHERNET + from + len).context("a short packet")
    };
    let (addr, port_at): (IpAddr, usize) = match asked {
        SocketAddr::V4(_) => (<[u8; 4]>::try_from(part(16, 4)?)?.into(), 22),
        SocketAddr::V6(_) => (<[u8; 16]>::try_from(part(24, 16)?)?.into(), 42),
    };
    Ok(SocketAddr::new(addr, u16::from_be_bytes(part(port_at, 2)?.try_into()?)))
}

/// Who answers clients of the cluster under an address of a Service and who those from outside, with how many of them are on
/// the node, and what else the way in says.
pub(super) type Services = BTreeMap<Frontend, ([(u32, Vec<Backend>); 2], u32, u32)>;

/// Numbers of service rows depend on history, contents do not. Whether connections from before are taken over depends on
/// the clock.
pub(super) fn canonical(mut rows: Rows) -> (Rows, Services) {
    rows.endpoints.values_mut().for_each(|row| row.flags &= !ADOPTING);
    let services = std::mem::take(&mut rows.services);
    let backends = std::mem::take(&mut rows.backends);
    let frontends = std::mem::take(&mut rows.frontends);
    // A Service's port has the number that its first way in says.
    let mut order = BTreeMap::new();
    for row in frontends.values() {
        let next = u32::try_from(order.len()).unwrap_or(u32::MAX);
        order.entry(row.svc).or_insert(next);
    }
    let number = |svc: u32| order.get(&svc).copied().unwrap_or(svc);
    rows.members = rows.members.into_iter().map(|m| Member { svc: number(m.svc), ..m }).collect();
    rows.ranges = rows.ranges.into_iter().map(|r| SourceRange { svc: number(r.svc), ..r }).collect();
    let content = frontends.into_iter().map(|(frontend, row)| {
        let set = |number: u32| {
            let local = services.get(&number).map_or(0, |service| service.n_local());
            (local, backends.get(&number).cloned().unwrap_or_default())
        };
        (frontend, ([set(row.near), set(row.far)], row.flags, row.affinity))
    });
    (rows, content.collect())
}
