//! Direct server return: what one node sends on to another one as it is, and what the other one makes of it.

mod arrive;
mod send;
mod trust;

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use netpol_agent::dataplane::{ClusterRow, Op};
use netpol_common::{cluster::kind, conntrack::CtEntry, net::proto, reason::DropReason};
use netpol_tests::packet::{Lab, Uplink::FromNetdev, Verdict::Drop as Dropped, World, encapsulated};

use super::{Outside, ROUTER, sent};

/// Another node's address.
pub(super) fn other_node(o: &Outside) -> IpAddr {
    match o.node {
        IpAddr::V4(_) => [172, 18, 0, 2].into(),
        IpAddr::V6(_) => [0xfd00, 0x172, 0x18, 0, 0, 0, 0, 2].into(),
    }
}

/// Type and code of the error that a packet is too big.
pub(super) fn too_big(o: &Outside) -> [u8; 2] {
    if o.node.is_ipv4() { [3, 4] } else { [2, 0] }
}

/// What such an error says of the size that fits.
pub(super) fn fits_in(mtu: u16) -> [u8; 4] {
    let [a, b] = mtu.to_be_bytes();
    [0, 0, a, b]
}

pub(super) fn no_address(o: &Outside) -> IpAddr {
    if o.node.is_ipv4() { [0; 4].into() } else { [0; 16].into() }
}

/// The entry of a UDP connection.
pub(super) fn entry_of(lab: &Lab, src: SocketAddr, dst: SocketAddr) -> Result<Option<CtEntry>> {
    crate::entry::entry_of(lab, src, dst, proto::UDP)
}

/// Says who is who in the cluster: this node, another one, and these pods.
pub(super) fn settle(lab: &mut Lab, o: &Outside, pods: &[IpAddr]) -> Result<()> {
    let own = (no_address(o), ClusterRow { kind: kind::OWN, addr: Some(o.node) });
    let node = (other_node(o), ClusterRow { kind: kind::NODE, addr: Some(o.node) });
    let elsewhere = [o.elsewhere, o.client];
    let kind_of = |pod| if elsewhere.contains(pod) { kind::POD } else { kind::HERE };
    let pods = pods.iter().map(|pod| (*pod, ClusterRow { kind: kind_of(pod), addr: None }));
    lab.write(pods.chain([node, own]).map(|(addr, row)| Op::PutCluster(addr, row)))
}

/// The client's packet on its way to the backend's node: one hop fewer, and in another one with all of its own.
pub(super) fn sent_on(o: &Outside, packet: Vec<u8>) -> Vec<u8> {
    let mut carried = encapsulated(o.node, World::at(o.elsewhere, 8080), &sent(packet));
    carried[..6].copy_from_slice(&ROUTER);
    carried
}

/// What comes in by the uplink is dropped and counted once. The packet itself may have been taken out of the other one by then.
pub(super) fn refused(lab: &mut Lab, name: &str, packet: &[u8], reason: DropReason) -> Result<()> {
    let seen = lab.send(FromNetdev(lab.uplink), packet)?;
    let counted: Vec<_> = seen.counted.iter().map(|(name, n)| (name.clone(), *n)).collect();
    assert_eq!((seen.verdict, counted), (Dropped, vec![(format!("{} ingress", reason.name()), 1)]), "{name}");
    let reasons: Vec<_> = seen.events.iter().map(|event| event.reason).collect();
    assert_eq!(reasons, [reason as u8], "{name}");
    Ok(())
}
