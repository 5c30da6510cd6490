use std::{collections::BTreeSet, fmt, sync::Arc};

use ipnet::IpNet;
use netpol_common::{net::proto, service::ServiceRow};

use crate::{
    dataplane::{Backend, Frontend},
    few::Few,
    model::Name,
};

/// A port of a Service in one address family: what has a number of its own, and one state that all ways into it share.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortOfService {
    /// The Service.
    pub service: Name,
    /// `spec.ports[].port`
    pub port: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// IPv4, not IPv6.
    pub v4: bool,
}

impl PortOfService {
    /// Comes before every port of a Service, and behind those of the Services before it: where a search for its ports begins.
    #[must_use]
    pub fn before(service: &Name) -> Self {
        Self { service: service.clone(), port: 0, proto: 0, v4: false }
    }
}

impl fmt::Display for PortOfService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, port, proto, v4 } = self;
        let proto = match *proto {
            proto::TCP => "TCP",
            proto::UDP => "UDP",
            _ => "SCTP",
        };
        write!(f, "{service} port {port} {proto} IPv{}", if *v4 { 4 } else { 6 })
    }
}

/// The backends that are wanted for some of a port's clients.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Backends {
    /// How many of them are on this node; they come first.
    pub n_local: usize,
    /// All of them. Whoever remembers what was written shares them.
    pub all: Arc<[Backend]>,
}

/// Which backends answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum View {
    /// Those of the cluster that suit this node.
    Cluster,
    /// Those of this node.
    Local,
}

/// How a port is reached under one of its addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Way {
    /// What kind of address it is.
    pub kind: WayKind,
    /// Who answers clients within the cluster.
    pub near: View,
    /// Who answers clients from outside.
    pub far: View,
    /// Bits of [`netpol_common::service::flags`].
    pub flags: u32,
    /// [`FrontendRow::affinity`](netpol_common::service::FrontendRow::affinity), in seconds.
    pub affinity: u32,
}

/// A kind of address of a Service. Where two Services claim one address and port, the kind that comes first here has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WayKind {
    /// `spec.clusterIPs`
    ClusterIp,
    /// `spec.ports[].nodePort` on an address of this node
    NodePort,
    /// `status.loadBalancer.ingress[].ip`
    LoadBalancer,
    /// `spec.externalIPs`
    External,
}

/// What is wanted of a port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Balanced {
    /// Its addresses, without those that belong to another Service. Never none.
    pub ways: Few<(Frontend, Way)>,
    /// Who answers under [`View::Cluster`].
    pub cluster: Backends,
    /// Who answers under [`View::Local`].
    pub local: Backends,
    /// Who may go on answering a client that it has answered before: `np_member4/6`.
    pub members: BTreeSet<Backend>,
    /// Who is let in: `np_range4/6`.
    pub ranges: BTreeSet<IpNet>,
    /// Some way in asks for the same backend on every node: then the sets have Maglev tables, for all ways in.
    pub maglev: bool,
    /// Whoever answered last is better than nobody.
    pub never_empty: bool,
}

impl Balanced {
    /// How it is reached under an address.
    #[must_use]
    pub fn way(&self, frontend: &Frontend) -> Option<&Way> {
        self.ways.iter().find(|(own, _)| own == frontend).map(|(_, way)| way)
    }

    /// Its addresses.
    pub fn frontends(&self) -> impl Iterator<Item = &Frontend> {
        self.ways.iter().map(|(frontend, _)| frontend)
    }

    /// Who answers under a view.
    #[must_use]
    pub fn set(&self, view: View) -> &Backends {
        match view {
            View::Cluster => &self.cluster,
            View::Local => &self.local,
        }
    }

    /// Whether a set has a Maglev table. One backend needs none.
    #[must_use]
    pub fn has_ring(&self, view: View) -> bool {
        self.maglev && self.set(view).all.len() > 1
    }

    /// The row of a set that is empty: clients are refused, unless a policy alone keeps them from backends of other nodes.
    #[must_use]
    pub fn row_of_nobody(&self, view: View) -> ServiceRow {
        match view {
            View::Local if !self.cluster.all.is_empty() => ServiceRow::DROP,
            _ => ServiceRow::REFUSE,
        }
    }

    /// Whether the backends that are there are to stay, because nobody is known who answers.
    #[must_use]
    pub fn keeps_last_backends(&self) -> bool {
        self.never_empty && self.cluster.all.is_empty()
    }
}
