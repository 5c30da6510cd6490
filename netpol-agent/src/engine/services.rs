use std::{collections::BTreeMap, net::IpAddr};

use netpol_common::service::flags;

use super::{
    Engine,
    view::{BackendView, FrontendView, ServiceView},
};
use crate::{
    compile::{Backends, Balanced, HealthCheck, PortOfService, View, Way, WayKind},
    dataplane::Frontend,
    model::{Level, Problem, Service},
};

impl Engine {
    /// How many Services this node balances.
    #[must_use]
    pub fn service_count(&self) -> usize {
        self.index.services().filter(|service| service.is_balanced()).count()
    }

    /// The Services that this node balances.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceView> {
        self.index
            .services()
            .filter(|service| service.is_balanced())
            .map(|service| self.service(service))
            .collect()
    }

    /// The ports where load balancers ask, by how many backends of this node are ready.
    #[must_use]
    pub fn health_checks(&self) -> &BTreeMap<HealthCheck, usize> {
        self.compiler.health_checks()
    }

    /// The addresses of this node where they ask.
    #[must_use]
    pub fn node_port_addresses(&self) -> Vec<IpAddr> {
        self.index.node_port_addresses()
    }

    /// Whether this node is about to be taken out of the cluster.
    #[must_use]
    pub fn node_is_leaving(&self) -> bool {
        self.index.node_is_leaving()
    }

    fn service(&self, service: &Service) -> ServiceView {
        let wanted = self.compiler.desired().services.rows().range(PortOfService::before(&service.name)..);
        let wanted = wanted.take_while(|(port, _)| port.service == service.name);
        let frontends = wanted.flat_map(|(port, wanted)| {
            let named = service.ports.iter().find(|p| (p.port, p.proto) == (port.port, port.proto));
            let name = named.map_or("", |port| port.name.as_str());
            wanted.ways.iter().map(move |(frontend, way)| self.frontend(name, frontend, way, wanted))
        });
        ServiceView { service: service.name.clone(), frontends: frontends.collect() }
    }

    fn frontend(&self, name: &str, frontend: &Frontend, way: &Way, wanted: &Balanced) -> FrontendView {
        let flag = |bit| way.flags & bit != 0;
        FrontendView {
            addr: frontend.addr,
            port: frontend.port,
            proto: frontend.proto,
            port_name: name.to_owned(),
            kind: way.kind.name().to_owned(),
            backends: self.backends(wanted.set(way.near)),
            outside: (way.far != way.near).then(|| self.backends(wanted.set(way.far))),
            local: way.far == View::Local,
            affinity_s: way.affinity,
            source_ranges: flag(flags::SOURCE_RANGES)
                .then(|| wanted.ranges.iter().map(ToString::to_string).collect()),
            maglev: flag(flags::MAGLEV),
            ready: self.planner.serves(frontend, way, wanted),
        }
    }

    fn backends(&self, set: &Backends) -> Vec<BackendView> {
        let view = |(place, backend): (usize, &crate::dataplane::Backend)| BackendView {
            addr: backend.addr,
            port: backend.port,
            pod: self.index.owner(backend.addr).map(|pod| pod.name.clone()),
            local: place < set.n_local,
        };
        set.all.iter().enumerate().map(view).collect()
    }

    /// Addresses that belong to another Service.
    pub(super) fn contested(&self) -> impl Iterator<Item = Problem> {
        self.compiler.contested().map(|(Frontend { addr, port, .. }, kind, service)| Problem {
            level: Level::Error,
            origin: String::new(),
            object: Some(service.of_kind("Service")),
            field: kind.field().to_owned(),
            message: format!("{addr} port {port} belongs to another Service already; it is not served"),
        })
    }
}

impl WayKind {
    /// The word that `netpolctl services` shows.
    const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "cluster",
            Self::NodePort => "node",
            Self::LoadBalancer => "load-balancer",
            Self::External => "external",
        }
    }

    /// Where the Service names such an address.
    const fn field(self) -> &'static str {
        match self {
            Self::ClusterIp => "spec.clusterIPs",
            Self::NodePort => "spec.ports.nodePort",
            Self::LoadBalancer => "status.loadBalancer.ingress",
            Self::External => "spec.externalIPs",
        }
    }
}
