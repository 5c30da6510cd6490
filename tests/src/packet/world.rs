use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use netpol_agent::dataplane::{Backend, Frontend, Op};
use netpol_common::{
    config,
    endpoint::{EndpointRow, flags},
    net::proto,
    peer::PeerRow,
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, PortSetId, RuleId, SlotId},
    service::{FrontendRow, ServiceRow},
};

use super::lab::Lab;

/// What the packet tables play in: two pods of this node, one of another, a service, and a stranger.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// A pod of this node.
    pub a: IpAddr,
    /// Another pod of this node, behind the service.
    pub b: IpAddr,
    /// A pod of another node.
    pub remote: IpAddr,
    /// An address that nothing names.
    pub stranger: IpAddr,
    /// The service's address; port 80 over TCP and UDP leads to port 8080 of `b`.
    pub service: IpAddr,
}

/// The class of every pod, so that a rule can name pods and leave out the stranger.
pub(crate) const POD: ClassId = ClassId(0x70d);

impl World {
    /// The same world in either family (4 or 6).
    #[must_use]
    pub fn new(family: u8) -> Self {
        let addr = |last: u8| -> IpAddr {
            if family == 4 {
                [10, 244, 1, last].into()
            } else {
                [0xfd00, 0x10, 0x244, 1, 0, 0, 0, u16::from(last)].into()
            }
        };
        Self { a: addr(10), b: addr(11), remote: addr(77), stranger: addr(200), service: addr(96) }
    }

    /// `addr` and `port`.
    #[must_use]
    pub fn at(addr: IpAddr, port: u16) -> SocketAddr {
        SocketAddr::new(addr, port)
    }

    /// Writes the rows: both pods ready and isolated by nothing, the fast path on.
    ///
    /// # Errors
    /// If a row cannot be written.
    pub fn settle(&self, lab: &mut Lab) -> Result<()> {
        use netpol_agent::dataplane::kernel::Switch;
        lab.maps.set_flags(config::flags::FAST_PATH, Switch::On);
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let peer = |addr, ifindex| Op::PutPeer(addr, PeerRow { class: POD, ifindex, flags: 0 });
        lab.write([peer(self.a, if_a), peer(self.b, if_b), peer(self.remote, 0)])?;
        lab.write([if_a, if_b].map(|ifindex| Op::PutEndpoint(ifindex, open())))?;
        let (svc, base) = if self.a.is_ipv4() { (1, 0) } else { (2, 0) };
        let row = ServiceRow::new(base, 1, 1).expect("in range");
        lab.write([
            Op::WriteBackends { base, backends: [Backend { addr: self.b, port: 8080 }].into() },
            Op::PutService(svc, row),
        ])?;
        lab.write([proto::TCP, proto::UDP].map(|proto| {
            Op::PutFrontend(
                Frontend { addr: self.service, port: 80, proto },
                FrontendRow { svc, near: svc, far: svc, ..FrontendRow::default() },
            )
        }))
    }
}

/// An endpoint that no policy isolates.
#[must_use]
pub fn open() -> EndpointRow {
    EndpointRow { flags: flags::READY | flags::FAST_PATH, ..EndpointRow::default() }
}

/// A slot that allows pods (and nobody else) the TCP ports 8080 and 9000–9007, and UDP 53.
#[must_use]
pub fn slot_for_pods(slot: SlotId) -> Vec<Op> {
    let ports = PortSetId(slot.0 + 1);
    let key = |proto, port, prefix| PortKey { ports, port, proto, prefix, pad: 0 };
    vec![
        Op::PutPort(key(proto::TCP, 8080, 16), RuleId(RuleId::HASHED | 1)),
        Op::PutPort(key(proto::TCP, 9000, 13), RuleId(RuleId::HASHED | 2)),
        Op::PutPort(key(proto::UDP, 53, 16), RuleId(RuleId::HASHED | 3)),
        Op::PutPolicy(
            PolicyKey { slot, class: POD },
            PolicyRow { any: RuleId::NONE, ports, tcp: 1 << 16 | 1 << 13, udp: 1 << 16, sctp: 0, pad: 0 },
        ),
    ]
}
