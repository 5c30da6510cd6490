use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpol_common::{net::proto, service::flags};

use super::{Balanced, View, Way, WayKind, choice::choose};
use crate::{
    dataplane::Frontend,
    few::Few,
    index::{ExternalMode, Index},
    model::{LoadBalancing, Service, ServicePort},
};

/// All addresses and ports that a Service's port is to be reached under.
pub(super) fn ways(service: &Service, port: &ServicePort, index: &Index) -> Vec<(Frontend, Way)> {
    let asked = |by_default| match service.load_balancing.unwrap_or(by_default) {
        LoadBalancing::Maglev => flags::MAGLEV,
        LoadBalancing::Random => 0,
    };
    let affinity = service.affinity_s;
    let view = |local: bool| if local { View::Local } else { View::Cluster };
    let mut ways = Vec::new();
    let mut add = |addresses: &[IpAddr], number: u16, way: &dyn Fn(IpAddr) -> Way| {
        // A Service has the families of its cluster addresses.
        let has = |addr: &IpAddr| service.addresses.iter().any(|own| own.is_ipv4() == addr.is_ipv4());
        for addr in addresses.iter().filter(|addr| has(addr)) {
            ways.push((Frontend { addr: *addr, port: number, proto: port.proto }, way(*addr)));
        }
    };
    let inside = view(service.local_only);
    add(&service.addresses, port.port, &|_| Way {
        kind: WayKind::ClusterIp,
        near: inside,
        far: inside,
        flags: asked(LoadBalancing::Random),
        affinity,
    });
    let outside = &service.outside;
    let keep = if outside.local_only { flags::KEEP_SOURCE } else { 0 };
    // Clients within the cluster get all backends: their packets never come by way of the load balancer that a policy of
    // `Local` is for.
    let external = |kind| Way {
        kind,
        near: View::Cluster,
        far: view(outside.local_only),
        flags: flags::EXTERNAL | keep | asked(index.external_load_balancing()),
        affinity,
    };
    if let Some(number) = port.node_port {
        add(&index.node_port_addresses(), number, &|_| external(WayKind::NodePort));
    }
    add(&outside.balancer, port.port, &|addr| {
        let way = external(WayKind::LoadBalancer);
        Way { flags: way.flags | restriction(service, addr.is_ipv4(), index), ..way }
    });
    if index.serves_external_ips() {
        add(&outside.external, port.port, &|_| external(WayKind::External));
    }
    ways
}

/// What is wanted of a port in one family, under these ways in.
pub(super) fn balanced(
    service: &Service,
    port: &ServicePort,
    v4: bool,
    ways: Few<(Frontend, Way)>,
    index: &Index,
) -> Balanced {
    let mut endpoints = index.endpoints(service, port, v4);
    if port.proto == proto::SCTP {
        // Its checksum covers the ports, and no helper can make it anew.
        endpoints.retain(|(_, number), _| *number == port.port);
    }
    let choice = choose(endpoints.iter());
    // Nobody else asks who may go on answering. Where backends answer clients directly, their nodes ask whose they are.
    let directly = index.external_mode() == ExternalMode::Dsr
        && ways.iter().any(|(_, way)| way.flags & flags::EXTERNAL != 0);
    let asks = port.proto == proto::UDP || service.affinity_s > 0 || directly;
    let restricted = ways.iter().any(|(_, way)| way.flags & flags::SOURCE_RANGES != 0);
    Balanced {
        cluster: choice.cluster,
        local: choice.local,
        members: if asks { choice.members.iter().copied().collect() } else { BTreeSet::new() },
        ranges: if restricted { ranges(service, v4, index) } else { BTreeSet::new() },
        maglev: ways.iter().any(|(_, way)| way.flags & flags::MAGLEV != 0),
        never_empty: &*service.name.namespace == "default" && &*service.name.name == "kubernetes",
        ways,
    }
}

/// What a load balancer's address says of who is let in. Only some clients of a family are if there are ranges, of whatever family,
/// and none is for everybody.
fn restriction(service: &Service, v4: bool, index: &Index) -> u32 {
    let everybody = |net: &IpNet| net.prefix_len() == 0 && net.addr().is_ipv4() == v4;
    match &service.outside.ranges {
        Some(ranges) if !ranges.iter().any(everybody) => {
            let given = given(ranges, v4);
            flags::SOURCE_RANGES | if has_node(&given, index) { flags::NODE_IN_RANGES } else { 0 }
        }
        _ => 0,
    }
}

fn given(ranges: &[IpNet], v4: bool) -> BTreeSet<IpNet> {
    ranges.iter().filter(|net| net.addr().is_ipv4() == v4).copied().collect()
}

fn has_node(ranges: &BTreeSet<IpNet>, index: &Index) -> bool {
    let own = index.primary_addresses();
    ranges.iter().any(|net| own.iter().any(|addr| net.contains(addr)))
}

/// The ranges of a family. If this node is in one of them, so are the load balancer's own addresses: what the node sends there
/// may leave it with that address as its source, where the balancer has given it to the node.
fn ranges(service: &Service, v4: bool, index: &Index) -> BTreeSet<IpNet> {
    let mut ranges = given(service.outside.ranges.as_deref().unwrap_or_default(), v4);
    if has_node(&ranges, index) {
        let balancer = service.outside.balancer.iter().filter(|addr| addr.is_ipv4() == v4);
        ranges.extend(balancer.map(|addr| IpNet::from(*addr)));
    }
    ranges
}
