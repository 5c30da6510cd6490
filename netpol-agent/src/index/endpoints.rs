use std::{collections::BTreeMap, net::IpAddr};

use super::Index;
use crate::model::{Service, ServicePort, Slice, SliceEndpoint, TargetPort};

/// An address and port that may answer for a Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endpoint {
    /// Runs on this node.
    pub local: bool,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, whether it is about to end or not.
    pub serving: bool,
    /// About to end.
    pub terminating: bool,
    /// Whether it is meant for clients of this node.
    pub node_hint: Hint,
    /// Whether it is meant for clients of this node's zone.
    pub zone_hint: Hint,
}

/// For whose clients an endpoint is meant (`hints` of an EndpointSlice).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Hint {
    /// Nothing is said.
    #[default]
    Absent,
    /// Those of other places.
    Elsewhere,
    /// Those of this place, and perhaps of others.
    Here,
}

impl Hint {
    fn of(named: &[String], here: &str) -> Self {
        match named {
            [] => Self::Absent,
            named if named.iter().any(|place| place == here) => Self::Here,
            _ => Self::Elsewhere,
        }
    }
}

impl Endpoint {
    /// About to end, and still answering.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.serving && self.terminating
    }

    /// Of two that are told of one address and port the greater counts. One that is not about to end has the address now;
    /// beyond that it only matters that the order of events does not.
    fn rank(&self) -> impl Ord {
        let Self { local, ready, serving, terminating, node_hint, zone_hint } = *self;
        (!terminating, ready, serving, local, node_hint, zone_hint)
    }
}

type Found = BTreeMap<(IpAddr, u16), Endpoint>;

impl Index {
    /// The endpoints of a Service's port in one family, from its EndpointSlices; if it has none, from the pods that its
    /// selector matches, as the cluster's controller would derive them.
    #[must_use]
    pub fn endpoints(&self, service: &Service, port: &ServicePort, v4: bool) -> Found {
        let mut found = Found::new();
        match self.slices_of.get(&service.name) {
            Some(names) => {
                for slice in names.iter().filter_map(|name| self.slices.get(name)) {
                    self.listed(slice, port, v4, &mut found);
                }
            }
            None => self.derive(service, port, v4, &mut found),
        }
        found
    }

    fn listed(&self, slice: &Slice, port: &ServicePort, v4: bool, found: &mut Found) {
        let ports = slice.ports.iter().filter(|p| p.name == port.name && p.proto == port.proto);
        for number in ports.map(|p| p.port) {
            for listed in slice.endpoints.iter().filter(|e| e.addr.is_ipv4() == v4) {
                add(found, (listed.addr, number), self.endpoint(listed));
            }
        }
    }

    fn endpoint(&self, listed: &SliceEndpoint) -> Endpoint {
        let (zones, nodes) = match &listed.hints {
            Some(hints) => (&*hints.for_zones, &*hints.for_nodes),
            None => Default::default(),
        };
        Endpoint {
            local: listed.node.as_deref() == Some(self.node.as_str()),
            ready: listed.ready,
            serving: listed.serving,
            terminating: listed.terminating,
            node_hint: Hint::of(nodes, &self.node),
            zone_hint: Hint::of(zones, self.zone()),
        }
    }

    fn derive(&self, service: &Service, port: &ServicePort, v4: bool, found: &mut Found) {
        let Some(selector) = &service.selector else { return };
        for pod in self.pods.within(&service.name.namespace) {
            if !pod.labels.include(selector) || pod.ended {
                continue;
            }
            let addr = pod.addresses.iter().copied().find(|a| a.is_ipv4() == v4);
            let number = match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Named(name) => pod.numbers_of(name, port.proto).next(),
            };
            let (Some(addr), Some(number)) = (addr, number) else { continue };
            let endpoint = Endpoint {
                local: pod.node.as_deref() == Some(self.node.as_str()),
                ready: service.publish_not_ready || pod.ready && !pod.terminating,
                serving: pod.ready,
                terminating: pod.terminating,
                ..Endpoint::default()
            };
            add(found, (addr, number), endpoint);
        }
    }
}

fn add(found: &mut Found, key: (IpAddr, u16), new: Endpoint) {
    let known = found.entry(key).or_insert(new);
    if new.rank() > known.rank() {
        *known = new;
    }
}
