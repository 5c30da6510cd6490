use std::net::IpAddr;

use ipnet::IpNet;

use super::Index;
use crate::model::{LoadBalancing, Node};

/// What the agent was told to do about Services.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceSettings {
    /// Which addresses of the node have node ports.
    pub node_ports: NodePortAddresses,
    /// Whether `externalIPs` are served. They let whoever may write a Service take over any address (CVE-2020-8554).
    pub external_ips: bool,
    /// How backends are chosen of Services that are reached from outside and do not say.
    pub external_load_balancing: LoadBalancing,
    /// How clients from outside reach backends of other nodes.
    pub external_mode: ExternalMode,
}

/// How clients from outside reach backends of other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum ExternalMode {
    /// Under this node's address; answers come back by it
    #[default]
    Snat,
    /// Under their own address; the backend's node answers them directly
    Dsr,
}

/// Which addresses of the node have node ports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum NodePortAddresses {
    /// The first of each family that the Node names, internal ones before external ones.
    #[default]
    Primary,
    /// All that the Node names within these prefixes.
    Within(Vec<IpNet>),
}

impl Index {
    /// Settles what to do about Services.
    pub fn configure(&mut self, settings: ServiceSettings) {
        self.settings = settings;
        self.dirty.services.extend(self.services.iter().map(|service| service.name.clone()));
        self.dirty.nodes = true;
    }

    /// Whether `externalIPs` are served.
    #[must_use]
    pub fn serves_external_ips(&self) -> bool {
        self.settings.external_ips
    }

    /// How backends are chosen of Services that are reached from outside and do not say.
    #[must_use]
    pub fn external_load_balancing(&self) -> LoadBalancing {
        self.settings.external_load_balancing
    }

    /// How clients from outside reach backends of other nodes.
    #[must_use]
    pub fn external_mode(&self) -> ExternalMode {
        self.settings.external_mode
    }

    /// The addresses of this node that node ports are served under.
    #[must_use]
    pub fn node_port_addresses(&self) -> Vec<IpAddr> {
        match &self.settings.node_ports {
            NodePortAddresses::Primary => self.primary_addresses(),
            NodePortAddresses::Within(nets) => {
                let all = self.own_addresses().iter().copied();
                all.filter(|addr| nets.iter().any(|net| net.contains(addr))).collect()
            }
        }
    }

    /// The first address of each family that this node's object names.
    #[must_use]
    pub fn primary_addresses(&self) -> Vec<IpAddr> {
        let first = |v4: bool| self.own_addresses().iter().copied().find(|addr| addr.is_ipv4() == v4);
        [first(true), first(false)].into_iter().flatten().collect()
    }

    fn own_addresses(&self) -> &[IpAddr] {
        self.nodes.get(&self.node).map_or(&[], |node| &node.addresses)
    }

    /// Whether this node is about to be taken out of the cluster.
    #[must_use]
    pub fn node_is_leaving(&self) -> bool {
        self.nodes.get(&self.node).is_some_and(|node| node.leaving)
    }

    /// The zone of this node, empty if its object says nothing of it.
    pub(super) fn zone(&self) -> &str {
        self.nodes.get(&self.node).map_or("", |node| node.zone.as_str())
    }

    pub(super) fn set_node(&mut self, name: &str, new: Option<Node>) {
        // Who answers depends on this node's zone, and under which addresses on its own.
        if self.nodes.get(name) == new.as_ref() {
            return;
        }
        self.dirty.nodes = true;
        if name == self.node {
            self.dirty.services.extend(self.services.iter().map(|service| service.name.clone()));
        }
        match new {
            Some(node) => self.nodes.insert(name.to_owned(), node),
            None => self.nodes.remove(name),
        };
    }

    pub(super) fn set_service_nets(&mut self, name: &str, nets: Option<Vec<IpNet>>) {
        let old = match nets {
            Some(nets) => self.service_nets.insert(name.to_owned(), nets),
            None => self.service_nets.remove(name),
        };
        self.dirty.service_nets |= old.as_ref() != self.service_nets.get(name);
    }

    /// The prefixes that the cluster takes Services' addresses from (ServiceCIDR).
    pub fn service_nets(&self) -> impl Iterator<Item = IpNet> {
        self.service_nets.values().flatten().copied()
    }
}
