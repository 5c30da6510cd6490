//! The rules that kube-proxy 1.36 would write for Services, as text for `nft -f` and `iptables-restore`.
//!
//! Shaped as its nftables and iptables modes shape them for Services with a cluster address, a node port if they have one, and TCP,
//! without affinity: the same chains, maps and sets, matches and orders, with comments where they cost something. What such Services do
//! not use (source ranges, Services without endpoints) is there as chains and maps that are empty.

mod iptables;
mod nftables;

use std::net::SocketAddrV4;

pub(in crate::bench) use iptables::iptables;
pub(in crate::bench) use nftables::nftables;

/// A Service with one TCP port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    /// Its cluster address and port.
    pub(super) frontend: SocketAddrV4,
    /// The port of every node that it is reached by, if it has one.
    pub(super) node_port: Option<u16>,
    pub(super) endpoints: Vec<SocketAddrV4>,
}

/// Where all pods of the cluster are.
const PODS: &str = "10.244.0.0/16";

/// Stands for the hash in the names of chains.
fn hash(name: &str, address: &SocketAddrV4) -> String {
    format!("{:08X}{:04X}{:04X}", address.ip().to_bits(), address.port(), name.len())
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
