use std::collections::BTreeMap;

use super::{Backends, Compiler, choice::choose};
use crate::{
    dataplane::Frontend,
    index::Index,
    model::{Name, Service, ServicePort},
};

/// Who claims which frontend.
#[derive(Debug, Default)]
pub(super) struct Frontends {
    claims: BTreeMap<Frontend, BTreeMap<Name, Backends>>,
    of_service: BTreeMap<Name, Vec<Frontend>>,
}

impl Frontends {
    /// Of several Services with the same address and port the first by name has it.
    pub(super) fn contested(&self) -> impl Iterator<Item = (Frontend, &Name)> {
        let losers = |(frontend, claims): (&Frontend, _)| (*frontend, BTreeMap::keys(claims).skip(1));
        self.claims.iter().map(losers).flat_map(|(frontend, names)| names.map(move |name| (frontend, name)))
    }
}

impl Compiler {
    pub(super) fn compile_service(&mut self, name: &Name, index: &Index) {
        let mut touched = self.frontends.of_service.remove(name).unwrap_or_default();
        for frontend in &touched {
            if let Some(claims) = self.frontends.claims.get_mut(frontend) {
                claims.remove(name);
            }
        }
        if let Some(service) = index.service(name) {
            let mut own = Vec::new();
            for port in &service.ports {
                for addr in &service.addresses {
                    let frontend = Frontend { addr: *addr, port: port.port, proto: port.proto };
                    let backends = backends(service, port, addr.is_ipv4(), index);
                    self.frontends.claims.entry(frontend).or_default().insert(name.clone(), backends);
                    own.push(frontend);
                }
            }
            touched.extend(&own);
            self.frontends.of_service.insert(name.clone(), own);
        }
        for frontend in touched {
            let claims = self.frontends.claims.get(&frontend);
            let winner =
                claims.and_then(|claims| claims.first_key_value()).map(|(_, backends)| backends.clone());
            if winner.is_none() {
                self.frontends.claims.remove(&frontend);
            }
            self.desired.services.set(frontend, winner);
        }
    }
}

/// Who answers to clients within the cluster.
fn backends(service: &Service, port: &ServicePort, v4: bool, index: &Index) -> Backends {
    let choice = choose(index.endpoints(service, port, v4).iter());
    if service.local_only { choice.local } else { choice.cluster }
}
