use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// 4 or 6.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// From 4 or 6.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }
}

/// The CNI plugin that wires the pods of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Cni {
    /// `ptp`: routed, one host route per pod.
    Ptp,
    /// `bridge`: the pods of a node share one L2 network.
    Bridge,
}

/// A node to build.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// `metadata.name` of the Node.
    pub name: String,
    /// Its `topology.kubernetes.io/zone` label.
    pub zone: Option<String>,
    /// How its pods are wired.
    pub cni: Cni,
}

impl NodeSpec {
    /// A node without a zone.
    #[must_use]
    pub fn new(name: &str, cni: Cni) -> Self {
        Self { name: name.to_owned(), zone: None, cni }
    }
}

/// A cluster to build.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// In this order they get their numbers, from 1, and with them their addresses.
    pub nodes: Vec<NodeSpec>,
    /// Hosts on the nodes' network that are no nodes.
    pub outside: Vec<String>,
    /// The families that pods and nodes have addresses of.
    pub families: Vec<Family>,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            nodes: vec![NodeSpec::new("node1", Cni::Ptp), NodeSpec::new("node2", Cni::Bridge)],
            outside: Vec::new(),
            families: Family::ALL.to_vec(),
        }
    }
}

/// Node `number`'s range of pod addresses.
pub(super) fn pod_range(family: Family, number: u8) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert(Ipv4Addr::new(10, 244, number, 0), 24).into(),
        Family::V6 => {
            Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x244, u16::from(number), 0, 0, 0, 0), 64).into()
        }
    }
}

/// Addresses of load balancers, which outside hosts reach by way of node `number`. Prefixes that nobody has (RFC 2544, RFC 3849).
pub(super) fn load_balancer_range(family: Family, number: u8) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert(Ipv4Addr::new(198, 18, number, 0), 24).into(),
        Family::V6 => {
            Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x113, u16::from(number), 0, 0, 0, 0), 64).into()
        }
    }
}

/// The first address of a range, which the CNI plugins give to the node.
pub(super) fn gateway(range: IpNet) -> IpAddr {
    match range {
        IpNet::V4(net) => IpAddr::V4((u32::from(net.network()) + 1).into()),
        IpNet::V6(net) => IpAddr::V6((u128::from(net.network()) + 1).into()),
    }
}

/// Host `number`'s address on the network that joins nodes and outside hosts, with that network's prefix.
pub(super) fn uplink(family: Family, number: u8) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert(Ipv4Addr::new(172, 18, 0, number), 24).into(),
        Family::V6 => {
            Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, u16::from(number)), 64).into()
        }
    }
}

/// Where Services without an address get one from.
pub(super) fn service_range(family: Family) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16).into(),
        Family::V6 => Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), 112).into(),
    }
}
