//! What the evaluator says, asked once for each question.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::PodIP;
use netpol_agent::oracle::{Family, Party, Question, World, judge, translate};
use netpol_common::{direction::Direction, net::proto};

use crate::{
    random::{HERE, has_interface},
    station::Desired,
};

/// Interfaces of the two ends, 0 where an end is no pod of this node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ends {
    pub(super) initiator: u32,
    pub(super) responder: u32,
}

/// Between whom, from where, to where, and the protocol.
type Asked = (Ends, IpAddr, SocketAddr, u8);
/// Addresses and ports that answer for a Service.
type Backends = Vec<SocketAddr>;

/// A world, as one node sees it.
#[derive(Debug)]
pub(super) struct Laws {
    world: World,
    /// The same, where each pod of this node has an address of either family. The evaluator does not judge packets of a
    /// family that a pod has no address of, but somebody may send them.
    named: World,
    /// The same, where Services send their clients to any node.
    everywhere: World,
    /// Cluster addresses of Services.
    service_addresses: HashSet<IpAddr>,
    interfaces: HashMap<IpAddr, u32>,
    pods: BTreeMap<u32, Party>,
    said: RefCell<HashMap<Asked, Result<(), Direction>>>,
    services: RefCell<HashMap<(SocketAddr, u8), Option<Backends>>>,
}

impl Laws {
    pub(super) fn new(world: World, desired: &Desired) -> Self {
        let interfaces = desired.interfaces.iter();
        let addresses =
            interfaces.clone().flat_map(|i| i.addresses.iter().map(|address| (*address, i.ifindex)));
        let party = |owner: &str| {
            let (namespace, name) = owner.split_once('/').unwrap_or_default();
            Party::Pod { namespace: namespace.to_owned(), name: name.to_owned() }
        };
        let mut named = world.clone();
        for pod in named.pods.iter_mut().filter(|pod| has_interface(pod)) {
            let ips = pod.status.get_or_insert_default().pod_ips.get_or_insert_default();
            ips.extend(["198.51.100.1", "3fff::1"].map(|ip| PodIP { ip: ip.to_owned() }));
        }
        let mut everywhere = world.clone();
        let specs = || world.services.iter().filter_map(|service| service.spec.as_ref());
        for service in &mut everywhere.services {
            service.spec.get_or_insert_default().internal_traffic_policy = None;
        }
        let listed = specs().flat_map(|spec| spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip));
        let service_addresses = listed.filter_map(|text| text.parse().ok()).collect();
        Self {
            everywhere,
            service_addresses,
            interfaces: addresses.collect(),
            pods: interfaces.map(|interface| (interface.ifindex, party(&interface.name))).collect(),
            world,
            named,
            said: RefCell::default(),
            services: RefCell::default(),
        }
    }

    /// The interface of the pod of this node that has the address, else 0.
    pub(super) fn interface(&self, address: IpAddr) -> u32 {
        self.interfaces.get(&address).copied().unwrap_or(0)
    }

    /// Whether there is a pod behind the interface.
    pub(super) fn is_ready(&self, ifindex: u32) -> bool {
        self.pods.contains_key(&ifindex)
    }

    /// Whether a connection to `to` may be opened; otherwise which end denies it. An end with an interface is the pod behind
    /// it, whatever address the packet bears.
    ///
    /// # Errors
    /// If the evaluator cannot say.
    pub(super) fn allows(
        &self,
        ends: Ends,
        from: IpAddr,
        mut to: SocketAddr,
        proto: u8,
    ) -> Result<Result<(), Direction>> {
        let Ends { initiator, responder } = ends;
        if initiator != 0 && initiator == responder {
            return Ok(Ok(()));
        }
        if ![proto::TCP, proto::UDP, proto::SCTP].contains(&proto) {
            to.set_port(0);
        }
        if let Some(answer) = self.said.borrow().get(&(ends, from, to, proto)) {
            return Ok(*answer);
        }
        let ask = |from, to_party| {
            let family = Family::of(to.ip());
            let question = Question { from, to: to_party, family, protocol: proto, port: to.port() };
            judge(&self.named, &question).context("the evaluator")
        };
        let mut answer = Ok(());
        if responder != 0 && !ask(Party::Address(from), self.party(responder)?)?.ingress.allows() {
            answer = Err(Direction::Ingress);
        }
        if initiator != 0 && !ask(self.party(initiator)?, Party::Address(to.ip()))?.egress.allows() {
            answer = Err(Direction::Egress);
        }
        self.said.borrow_mut().insert((ends, from, to, proto), answer);
        Ok(answer)
    }

    fn party(&self, ifindex: u32) -> Result<Party> {
        self.pods.get(&ifindex).cloned().with_context(|| format!("no pod behind interface {ifindex}"))
    }

    /// Who answers for a Service's address and port; `None` if it is none.
    pub(super) fn backends(&self, address: SocketAddr, proto: u8) -> Option<Backends> {
        let mut services = self.services.borrow_mut();
        let answer =
            services.entry((address, proto)).or_insert_with(|| backends(&self.world, address, proto));
        answer.clone()
    }

    /// Whether somebody answers on another node, for a Service that sends its clients to their own one.
    pub(super) fn answers_elsewhere(&self, address: SocketAddr, proto: u8) -> bool {
        backends(&self.everywhere, address, proto).is_some_and(|backends| !backends.is_empty())
    }

    /// Whether it is a Service's address, whatever its ports are.
    pub(super) fn is_a_services(&self, address: IpAddr) -> bool {
        self.service_addresses.contains(&address)
    }
}

fn backends(world: &World, address: SocketAddr, proto: u8) -> Option<Backends> {
    let translation = translate(world, HERE, address.ip(), address.port(), proto)?;
    Some(translation.backends.iter().map(|b| SocketAddr::new(b.address, b.port)).collect())
}
