//! Clients outside the node.

mod across;
mod admission;
mod anew;
mod beside;
mod dsr;
mod judged;
mod mid_flow;
mod reports;
mod sctp;
mod translation;
mod wire;

use std::{fs, net::IpAddr, process::Command};

use anyhow::{Result, ensure};
use netpol_agent::dataplane::{Backend, Frontend, Member, Op};
use netpol_common::{
    net::proto,
    service::{FrontendRow, ServiceRow, flags},
    uplink::UplinkRow,
};
use netpol_tests::packet::{ETHERNET, Lab, World};

use crate::table::in_both_families;

/// The service's port in the tables: not the one of the world's cluster address.
pub(super) const SVC: u32 = 7;
/// Row of `np_svc` for clients from outside.
pub(super) const FAR: u32 = 8;
pub(super) const NODE_PORT: u16 = 30_080;
/// MAC address of the next hop, for all that leaves the node.
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

/// What is outside of the world's node.
pub(super) struct Outside {
    /// The node's address on its uplink.
    pub(super) node: IpAddr,
    /// Beyond a router.
    pub(super) client: IpAddr,
    /// A pod of another node, reached by the uplink.
    pub(super) elsewhere: IpAddr,
}

impl Outside {
    pub(super) fn new(family: u8) -> Self {
        let addr =
            |four: [u8; 4], six: [u16; 8]| -> IpAddr { if family == 4 { four.into() } else { six.into() } };
        Self {
            node: addr([172, 18, 0, 1], [0xfd00, 0x172, 0x18, 0, 0, 0, 0, 1]),
            client: addr([203, 0, 113, 9], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9]),
            elsewhere: addr([10, 244, 2, 7], [0xfd00, 0x10, 0x244, 2, 0, 0, 0, 7]),
        }
    }

    /// Gives the lab's node routes, a frontend on its own address, and `backends`, of which `local` are on it.
    pub(super) fn settle(&self, lab: &mut Lab, backends: &[IpAddr], local: u32, flags: u32) -> Result<()> {
        configure()?;
        let (addr4, addr6) = match self.node {
            IpAddr::V4(addr) => (addr.into(), Default::default()),
            IpAddr::V6(addr) => (Default::default(), addr.into()),
        };
        let (first_port, last_port) = UplinkRow::PORTS;
        lab.uplinks.put(lab.uplink, UplinkRow { addr4, addr6, first_port, last_port })?;
        let backends: Vec<_> = backends.iter().map(|addr| Backend { addr: *addr, port: 8080 }).collect();
        let base = 100;
        let all = u32::try_from(backends.len())?;
        lab.write(backends.iter().map(|backend| Op::PutMember(Member { svc: SVC, backend: *backend })))?;
        lab.write([
            Op::WriteBackends { base, backends: backends.into() },
            Op::PutService(FAR, ServiceRow::new(base, local, all).expect("in range")),
        ])?;
        let row = FrontendRow { svc: SVC, near: FAR, far: FAR, flags: flags::EXTERNAL | flags, affinity: 0 };
        lab.write([proto::TCP, proto::UDP].map(|proto| Op::PutFrontend(self.frontend(proto), row)))
    }

    pub(super) fn frontend(&self, proto: u8) -> Frontend {
        Frontend { addr: self.node, port: NODE_PORT, proto }
    }
}

/// Addresses, routes and neighbours of the lab's network namespace, which is the current one. Again does no harm.
fn configure() -> Result<()> {
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/net/{name}"), "1")?;
    }
    let router = ROUTER.map(|byte| format!("{byte:02x}")).join(":");
    for line in [
        "link set lo up".to_owned(),
        "link set up0 address 02:00:00:00:00:01 up".to_owned(),
        "link set up1 up".to_owned(),
        "addr replace 172.18.0.1/24 dev up0".to_owned(),
        "addr replace fd00:172:18::1/64 dev up0 nodad".to_owned(),
        format!("neigh replace 172.18.0.254 lladdr {router} dev up0 nud permanent"),
        format!("neigh replace fd00:172:18::fe lladdr {router} dev up0 nud permanent"),
        "route replace default via 172.18.0.254".to_owned(),
        "-6 route replace default via fd00:172:18::fe".to_owned(),
    ] {
        let output = Command::new("ip").args(line.split(' ')).output()?;
        ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The packet as it leaves by the uplink: one hop fewer, with other MAC addresses.
pub(super) fn sent(mut packet: Vec<u8>) -> Vec<u8> {
    packet[..6].copy_from_slice(&ROUTER);
    packet[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    one_hop_fewer(packet)
}

/// The packet with one hop fewer to go.
pub(super) fn one_hop_fewer(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[12] == 8 {
        packet[ETHERNET + 8] -= 1;
        let sum = u16::from_be_bytes([packet[ETHERNET + 10], packet[ETHERNET + 11]]);
        // RFC 1624: the first byte of the word went down by one, so the sum goes up by as much.
        let sum = sum.checked_add(0x100).unwrap_or_else(|| sum.wrapping_add(0x101));
        packet[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet[ETHERNET + 7] -= 1;
    }
    packet
}

pub(super) fn in_a_node(f: impl Fn(&mut Lab, World, Outside) -> Result<()> + Sync) {
    in_both_families(|lab, w| f(lab, w, Outside::new(if w.a.is_ipv4() { 4 } else { 6 })));
}

pub(super) fn uplink_of(o: &Outside) -> UplinkRow {
    match o.node {
        IpAddr::V4(addr) => UplinkRow { addr4: addr.into(), ..UplinkRow::default() },
        IpAddr::V6(addr) => UplinkRow { addr6: addr.into(), ..UplinkRow::default() },
    }
}
