//! Services of the benchmarks: a crowd of them, and how they come into force on a node.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    kube_proxy::{self, Service},
    policed::SERVED,
};
use crate::bed::Bed;

/// Who translates on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    Netpol,
    Nftables,
    Iptables,
    /// There are no Services.
    Nobody,
}

/// Port of the cluster addresses.
pub(super) const FRONTEND_PORT: u16 = 80;
/// The node ports that an API server hands out unless it is told otherwise.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Puts Services in force on a node.
///
/// # Errors
/// If a program is missing or refuses them.
pub(super) fn put_in_force(bed: &Bed, node: &str, by: By, services: &[Service]) -> Result<()> {
    let node = bed.node(node)?;
    match by {
        By::Netpol => write(bed, services),
        By::Nobody => Ok(()),
        By::Iptables => {
            node.netns.feed(&mut Command::new("iptables-restore"), &kube_proxy::iptables(services))
        }
        By::Nftables => {
            let rules = kube_proxy::nftables(services, v4(&node.addresses)?);
            node.netns.feed(Command::new("nft").args(["-f", "-"]), &rules)
        }
    }
    .with_context(|| format!("{} Services by {by:?}", services.len()))
}

/// `size` Services, or as many more as there are of `own` beside the first, which lie in the middle. With `node_ports` the others have
/// some too, as far as there are any.
pub(super) fn crowd_around(own: Vec<Service>, size: usize, node_ports: bool) -> Vec<Service> {
    let taken: Vec<_> = own.iter().filter_map(|service| service.node_port).collect();
    let mut ports = NODE_PORTS.filter(|port| node_ports && !taken.contains(port));
    let mut services: Vec<Service> =
        (1..size).map(|n| Service { node_port: ports.next(), ..crowd(n) }).collect();
    let middle = services.len() / 2;
    services.splice(middle..middle, own);
    services
}

/// A Service of others, with two endpoints elsewhere.
fn crowd(n: usize) -> Service {
    let (high, low) = ((n / 250) as u8, (n % 250) as u8 + 1);
    let endpoint = |subnet: u8| SocketAddrV4::new(Ipv4Addr::new(10, 244 - subnet, high, low), 8080);
    Service {
        name: format!("crowd{n}"),
        frontend: SocketAddrV4::new(Ipv4Addr::new(10, 96, high, low), FRONTEND_PORT),
        node_port: None,
        endpoints: vec![endpoint(1), endpoint(2)],
    }
}

/// Has the folder of manifests hold these Services and no others.
fn write(bed: &Bed, services: &[Service]) -> Result<()> {
    let items: Vec<Value> = services.iter().flat_map(objects).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let (draft, place) = (bed.folder().join("services.draft"), bed.manifests().join("services.json"));
    fs::write(&draft, list.to_string()).and_then(|()| fs::rename(&draft, &place))?;
    Ok(())
}

fn objects(service: &Service) -> [Value; 2] {
    let Service { name, frontend, node_port, endpoints } = service;
    let to = endpoints.first().map_or(SERVED, SocketAddrV4::port);
    let ready: Vec<Value> =
        endpoints.iter().map(|e| json!({"addresses": [e.ip()], "conditions": {"ready": true}})).collect();
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {
                "type": if node_port.is_some() { "NodePort" } else { "ClusterIP" },
                "clusterIP": frontend.ip(), "clusterIPs": [frontend.ip()],
                "ports": [{"port": frontend.port(), "targetPort": to, "nodePort": node_port, "protocol": "TCP"}],
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "bench", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"port": to, "protocol": "TCP"}],
            "endpoints": ready,
        }),
    ]
}

/// The IPv4 address among them.
pub(super) fn v4(addresses: &[IpAddr]) -> Result<Ipv4Addr> {
    let found = addresses.iter().find_map(|addr| match addr {
        IpAddr::V4(addr) => Some(*addr),
        IpAddr::V6(_) => None,
    });
    found.context("no IPv4 address")
}
