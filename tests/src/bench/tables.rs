//! Tables that hold so many Services, policies and peers, and what a packet asks of them.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use netpol_agent::dataplane::{Backend, Frontend, Op};
use netpol_common::{
    lookup::{Question, tables},
    net::{Be16, proto},
    peer::PeerRow,
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, PortSetId, RuleId, SlotId},
    service::{FrontendKey4, FrontendRow, ServiceRow},
};

use crate::packet::{Lab, POD};

/// How many there are, each at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tables {
    pub(super) services: u32,
    /// Each isolates a pod by rules of its own: a slot with a row for each of [`CLASSES`].
    pub(super) policies: u32,
    /// Pods of other nodes.
    pub(super) peers: u32,
}

/// Backends of a Service.
pub(super) const ENDPOINTS: u32 = 10;
/// Kinds of peers that a policy tells apart.
const CLASSES: u32 = 10;
/// The one that policies let their pods send to.
pub(super) const PORT: u16 = 8080;
const SERVICE_PORT: u16 = 80;
/// Rows that others have written ([`crate::packet::World`]).
const TAKEN: u32 = 16;

const FIRST_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
const FIRST_PEER: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);

impl Tables {
    /// Writes all of it.
    pub(super) fn fill(self, lab: &mut Lab) -> Result<()> {
        lab.write((0..self.peers).map(|n| {
            let class = ClassId(POD.0 + u64::from(n % CLASSES));
            Op::PutPeer(self.peer(n).into(), PeerRow { class, ifindex: 0, flags: 0 })
        }))?;
        lab.write((0..self.policies).flat_map(|n| self.policy(n)))?;
        lab.write((0..self.services).flat_map(|n| self.rows_of_service(n)))
    }

    pub(super) fn service(self, n: u32) -> SocketAddr {
        SocketAddr::new(after(FIRST_SERVICE, n % self.services).into(), SERVICE_PORT)
    }

    pub(super) fn peer(self, n: u32) -> Ipv4Addr {
        after(FIRST_PEER, n % self.peers)
    }

    /// The rules of a policy, numbered as hashes are.
    pub(super) fn slot(self, n: u32) -> SlotId {
        SlotId(u64::from(n % self.policies + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Backend `k` of a Service.
    pub(super) fn backend(self, n: u32, k: u32) -> Ipv4Addr {
        self.peer((n % self.services) * ENDPOINTS + k)
    }

    fn policy(self, n: u32) -> Vec<Op> {
        let slot = self.slot(n);
        let ports = PortSetId(slot.0);
        let key = PortKey { ports, port: PORT, proto: proto::TCP, prefix: 16, pad: 0 };
        let row = PolicyRow { any: RuleId::NONE, ports, tcp: 1 << 16, ..PolicyRow::default() };
        let classes = (0..CLASSES).map(|class| ClassId(POD.0 + u64::from(class)));
        let rows = classes.map(|class| Op::PutPolicy(PolicyKey { slot, class }, row));
        [Op::PutPort(key, RuleId(slot.0 | RuleId::HASHED))].into_iter().chain(rows).collect()
    }

    fn rows_of_service(self, n: u32) -> [Op; 3] {
        let (row, base) = (TAKEN + n, TAKEN + n * ENDPOINTS);
        let backend = |k| Backend { addr: self.backend(n, k).into(), port: PORT };
        let frontend = self.service(n);
        [
            Op::WriteBackends { base, backends: (0..ENDPOINTS).map(backend).collect() },
            Op::PutService(row, ServiceRow::new(base, 0, ENDPOINTS).unwrap_or(ServiceRow::REFUSE)),
            Op::PutFrontend(
                Frontend { addr: frontend.ip(), port: frontend.port(), proto: proto::TCP },
                FrontendRow { svc: row, near: row, far: row, ..FrontendRow::default() },
            ),
        ]
    }

    /// What a new connection to a Service asks of tables that grow with the number of Services and peers.
    pub(super) fn ask_service(self, n: u32, backend: u32) -> Question {
        let addr = after(FIRST_SERVICE, n % self.services).into();
        let port = Be16::from_host(SERVICE_PORT);
        let frontend = FrontendKey4 { addr, port, proto: proto::TCP, pad: 0 };
        let tables = tables::SERVICE | tables::PEER;
        Question { frontend, backend: backend % ENDPOINTS, tables, ..Question::default() }
    }

    /// What a new connection to a peer asks of those that grow with the number of policies and peers.
    pub(super) fn ask_policy(self, slot: u32, peer: u32) -> Question {
        let (slot, addr) = (self.slot(slot), self.peer(peer).into());
        Question { slot, addr, tables: tables::PEER | tables::POLICY, port: PORT, ..Question::default() }
    }
}

fn after(first: Ipv4Addr, n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + n)
}
