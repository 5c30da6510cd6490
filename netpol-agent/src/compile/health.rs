use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Compiler, Table};
use crate::{
    index::Index,
    model::{Name, Service},
};

/// A port of this node where load balancers ask whether it has backends (`spec.healthCheckNodePort`), in one address family.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HealthCheck {
    /// IPv4, not IPv6.
    pub v4: bool,
    /// The port.
    pub port: u16,
    /// Whose it is. Of several with one port the first is asked.
    pub service: Name,
}

/// What load balancers are told: how many backends of this node are ready.
#[derive(Debug, Default)]
pub(super) struct Checks {
    all: Table<HealthCheck, usize>,
    of_service: BTreeMap<Name, Vec<HealthCheck>>,
}

impl Compiler {
    /// The ports where load balancers ask, with the number of pods' addresses that are ready on this node.
    #[must_use]
    pub fn health_checks(&self) -> &BTreeMap<HealthCheck, usize> {
        self.checks.all.rows()
    }

    pub(super) fn compile_checks(&mut self, name: &Name, index: &Index) {
        for old in self.checks.of_service.remove(name).unwrap_or_default() {
            self.checks.all.set(old, None);
        }
        let Some(service) = index.service(name) else { return };
        let Some(port) = service.outside.health_port else { return };
        let families = [true, false].into_iter();
        let families = families.filter(|v4| service.addresses.iter().any(|addr| addr.is_ipv4() == *v4));
        for v4 in families {
            let check = HealthCheck { v4, port, service: name.clone() };
            self.checks.all.set(check.clone(), Some(ready_here(service, v4, index)));
            self.checks.of_service.entry(name.clone()).or_default().push(check);
        }
    }
}

/// Addresses that are ready on this node for any port. Who is about to end does not count, although it may still answer: the
/// load balancer is to look elsewhere by then.
fn ready_here(service: &Service, v4: bool, index: &Index) -> usize {
    let mut ready: BTreeSet<IpAddr> = BTreeSet::new();
    for port in &service.ports {
        let endpoints = index.endpoints(service, port, v4).into_iter();
        ready.extend(endpoints.filter(|(_, e)| e.local && e.ready).map(|((addr, _), _)| addr));
    }
    ready.len()
}
