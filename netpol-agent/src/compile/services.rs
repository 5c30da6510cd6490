use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Compiler, PortOfService, Way, WayKind,
    ways::{balanced, ways},
};
use crate::{
    dataplane::Frontend,
    few::Few,
    index::Index,
    model::{Name, ServicePort},
};

/// Who has a claim to an address and port. The first has it.
type Claim = (WayKind, PortOfService);

/// Who claims which frontend.
#[derive(Debug, Default)]
pub(super) struct Frontends {
    claims: BTreeMap<Frontend, Few<Claim>>,
    /// Those that more than one claims.
    contested: BTreeSet<Frontend>,
    of_service: BTreeMap<Name, Claimed>,
    /// Services by their cluster addresses.
    whole: BTreeMap<IpAddr, Few<Name>>,
}

/// What one Service claims.
#[derive(Debug, Default)]
struct Claimed {
    /// For which of its ports.
    ways: Few<(Frontend, WayKind, u16)>,
    /// Its cluster addresses.
    whole: Box<[IpAddr]>,
}

impl Frontends {
    /// Of several Services with the same address and port the first by kind and name has it: those who do not.
    pub(super) fn contested(&self) -> impl Iterator<Item = (Frontend, WayKind, &Name)> {
        let claims = |frontend: &Frontend| Some((*frontend, self.claims.get(frontend)?.iter().skip(1)));
        let losers = self.contested.iter().filter_map(claims);
        losers.flat_map(|(frontend, claims)| {
            claims.map(move |(kind, port): &Claim| (frontend, *kind, &port.service))
        })
    }

    fn has(&self, frontend: &Frontend, claim: &Claim) -> bool {
        self.claims.get(frontend).and_then(Few::first) == Some(claim)
    }

    /// Takes back all claims of a Service; returns where they were.
    fn withdraw(&mut self, name: &Name) -> BTreeSet<Frontend> {
        let mut touched = BTreeSet::new();
        let ways = self.of_service.get_mut(name).map(|claimed| std::mem::take(&mut claimed.ways));
        for (frontend, kind, port) in ways.into_iter().flatten() {
            if let Some(claims) = self.claims.get_mut(&frontend) {
                let (proto, v4) = (frontend.proto, frontend.addr.is_ipv4());
                claims.remove(&(kind, PortOfService { service: name.clone(), port, proto, v4 }));
                if claims.len() < 2 {
                    self.contested.remove(&frontend);
                }
                if claims.is_empty() {
                    self.claims.remove(&frontend);
                }
            }
            touched.insert(frontend);
        }
        touched
    }

    /// Remembers the cluster addresses of a Service; returns for each old and new one whether it is some Service's now.
    fn claim_whole(&mut self, name: &Name, addresses: &[IpAddr]) -> Vec<(IpAddr, bool)> {
        let claimed = self.of_service.entry(name.clone()).or_default();
        let mut touched = std::mem::replace(&mut claimed.whole, addresses.into()).into_vec();
        if claimed.ways.is_empty() && addresses.is_empty() {
            self.of_service.remove(name);
        }
        for addr in &touched {
            if let Some(names) = self.whole.get_mut(addr) {
                names.remove(name);
                if names.is_empty() {
                    self.whole.remove(addr);
                }
            }
        }
        for addr in addresses {
            self.whole.entry(*addr).or_default().insert(name.clone());
        }
        touched.extend(addresses);
        touched.into_iter().map(|addr| (addr, self.whole.contains_key(&addr))).collect()
    }

    fn claim(&mut self, port: &PortOfService, frontend: Frontend, kind: WayKind) {
        let claims = self.claims.entry(frontend).or_default();
        claims.insert((kind, port.clone()));
        if claims.len() > 1 {
            self.contested.insert(frontend);
        }
        self.of_service.entry(port.service.clone()).or_default().ways.insert((frontend, kind, port.port));
    }
}

impl Compiler {
    pub(super) fn compile_service(&mut self, name: &Name, index: &Index) {
        let mut touched = self.frontends.withdraw(name);
        let service = index.service(name);
        for port in service.iter().flat_map(|service| &service.ports) {
            for (frontend, way) in service.iter().flat_map(|service| ways(service, port, index)) {
                let key = key(name, port, frontend.addr.is_ipv4());
                self.frontends.claim(&key, frontend, way.kind);
                touched.insert(frontend);
            }
        }
        // Whoever else claims these addresses gets them, or loses them.
        let claims = touched.iter().filter_map(|frontend| self.frontends.claims.get(frontend)).flatten();
        let mut concerned: BTreeSet<Name> = claims.map(|(_, port)| port.service.clone()).collect();
        concerned.insert(name.clone());
        for name in &concerned {
            self.serve(name, index);
        }
        let addresses = service.map_or(&[][..], |service| &service.addresses);
        for (addr, whole) in self.frontends.claim_whole(name, addresses) {
            self.desired.whole.set(addr, whole.then_some(()));
        }
    }

    /// Says what is wanted of each port of a Service.
    fn serve(&mut self, name: &Name, index: &Index) {
        let mut served = Few::default();
        let service = index.service(name);
        for (service, port) in service.iter().flat_map(|s| s.ports.iter().map(move |port| (s, port))) {
            for v4 in [true, false] {
                let key = key(name, port, v4);
                let ways: Few<(Frontend, Way)> = ways(service, port, index)
                    .into_iter()
                    .filter(|(frontend, _)| frontend.addr.is_ipv4() == v4)
                    .filter(|(frontend, way)| self.frontends.has(frontend, &(way.kind, key.clone())))
                    .collect();
                if !ways.is_empty() {
                    let wanted = balanced(service, port, v4, ways, index);
                    self.desired.services.set(key.clone(), Some(wanted.into()));
                    served.insert(key);
                }
            }
        }
        let known = self.desired.services.rows().range(PortOfService::before(name)..).map(|(key, _)| key);
        let known = known.take_while(|key| key.service == *name);
        let gone: Vec<PortOfService> = known.filter(|key| !served.contains(*key)).cloned().collect();
        gone.into_iter().for_each(|key| self.desired.services.set(key, None));
    }
}

fn key(name: &Name, port: &ServicePort, v4: bool) -> PortOfService {
    PortOfService { service: name.clone(), port: port.port, proto: port.proto, v4 }
}
