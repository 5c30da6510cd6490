use std::{collections::BTreeMap, net::IpAddr};

use super::{Index, within};
use crate::model::{Service, ServicePort, TargetPort};

/// An address and port that may answer for a Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Runs on this node.
    pub local: bool,
    /// Takes new connections.
    pub ready: bool,
    /// About to end, and still answering.
    pub draining: bool,
}

impl Index {
    /// The endpoints of a Service's port in one family that may answer on this node, from its EndpointSlices; if it has none,
    /// from the pods that its selector matches, as the cluster's controller would derive them.
    #[must_use]
    pub fn endpoints(
        &self,
        service: &Service,
        port: &ServicePort,
        v4: bool,
    ) -> BTreeMap<(IpAddr, u16), Endpoint> {
        let mut found = BTreeMap::new();
        match self.slices_of.get(&service.name) {
            Some(names) => {
                let slices = names.iter().filter_map(|name| self.slices.get(name));
                for slice in slices {
                    let ports = slice.ports.iter().filter(|p| p.name == port.name && p.proto == port.proto);
                    for number in ports.map(|p| p.port) {
                        for e in slice.endpoints.iter().filter(|e| e.addr.is_ipv4() == v4) {
                            let local = e.node.as_deref() == Some(self.node.as_str());
                            let draining = e.serving && e.terminating;
                            let endpoint = Endpoint { local, ready: e.ready, draining };
                            add(service, &mut found, (e.addr, number), endpoint);
                        }
                    }
                }
            }
            None => self.derive(service, port, v4, &mut found),
        }
        found
    }

    fn derive(
        &self,
        service: &Service,
        port: &ServicePort,
        v4: bool,
        found: &mut BTreeMap<(IpAddr, u16), Endpoint>,
    ) {
        let Some(selector) = &service.selector else { return };
        for pod in within(&self.pods, &service.name.namespace) {
            let selected = selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
            if !selected || pod.ended {
                continue;
            }
            let addr = pod.addresses.iter().copied().find(|a| a.is_ipv4() == v4);
            let number = match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Named(name) => pod.numbers_of(name, port.proto).next(),
            };
            let (Some(addr), Some(number)) = (addr, number) else { continue };
            let local = pod.node.as_deref() == Some(self.node.as_str());
            let ready = service.publish_not_ready || pod.ready && !pod.terminating;
            let draining = pod.ready && pod.terminating;
            add(service, found, (addr, number), Endpoint { local, ready, draining });
        }
    }
}

/// The same address and port may stand in two slices for a moment: the one that is not about to end counts. What is not to
/// answer on this node is left out before: its readiness says nothing about another endpoint of the same address.
fn add(service: &Service, found: &mut BTreeMap<(IpAddr, u16), Endpoint>, key: (IpAddr, u16), new: Endpoint) {
    if service.local_only && !new.local {
        return;
    }
    found
        .entry(key)
        .and_modify(|old| {
            old.ready |= new.ready;
            old.draining |= new.draining;
            old.local |= new.local;
        })
        .or_insert(new);
}
