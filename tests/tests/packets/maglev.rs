//! Maglev tables: the programs choose as the agent's table says, and so does every node.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use netpol_agent::{
    compile::ring as table,
    dataplane::{Backend, Frontend, Op},
};
use netpol_common::{
    logic::ring,
    net::{Be16, V4, V6, proto},
    service::{FrontendRow, ServiceRow, flags},
};
use netpol_tests::packet::{Hook::FromPod, Lab, SYN, World, tcp, udp};

use crate::table::in_both_families;

/// Backends of one pod of this node and one of another, `local` and `others` of them by their ports, with their table.
pub(crate) fn fill(
    lab: &mut Lab,
    number: u32,
    base: u32,
    (here, local): (IpAddr, u16),
    (there, others): (IpAddr, u16),
) -> Result<Vec<Backend>> {
    let of = |addr, first: u16, n: u16| (first..first + n).map(move |port| Backend { addr, port });
    let backends: Vec<Backend> = of(here, 8080, local).chain(of(there, 9000, others)).collect();
    let n = u32::try_from(backends.len())?;
    let row = ServiceRow::new(base, local.into(), n).and_then(ServiceRow::with_ring).expect("in range");
    lab.write([
        Op::WriteBackends { base, backends: backends.as_slice().into() },
        Op::WriteRing { v4: here.is_ipv4(), base: base + n, words: table(&backends) },
        Op::PutService(number, row),
    ])?;
    Ok(backends)
}

/// A node that has the backends in another order.
pub(crate) struct OtherNode {
    backends: Vec<Backend>,
    /// One for all that is asked: it takes far longer to make than a packet does.
    table: Vec<u64>,
}

impl OtherNode {
    pub(crate) fn with(backends: &[Backend]) -> Self {
        let backends: Vec<_> = backends.iter().rev().copied().collect();
        Self { table: table(&backends), backends }
    }

    /// Whom it would choose.
    pub(crate) fn chooses(&self, client: IpAddr, connection: Option<(u16, u8)>) -> Backend {
        let connection = connection.map(|(port, proto)| (Be16::from_host(port), proto));
        let hash = match client {
            IpAddr::V4(addr) => ring::hash(V4::from(addr), connection),
            IpAddr::V6(addr) => ring::hash(V6::from(addr), connection),
        };
        let place = ring::place(self.backends.len() as u32, ring::slot(hash));
        let word = self.table[place.word as usize];
        self.backends[(word >> place.shift) as usize & place.mask as usize]
    }
}

/// Where a packet without options or extension headers goes.
pub(crate) fn destination(packet: &[u8]) -> Backend {
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    if packet[12..14] == [8, 0] {
        let addr: [u8; 4] = packet[30..34].try_into().expect("four bytes");
        Backend { addr: addr.into(), port: port(36) }
    } else {
        let addr: [u8; 16] = packet[38..54].try_into().expect("sixteen bytes");
        Backend { addr: addr.into(), port: port(56) }
    }
}

#[test]
fn a_connection_goes_where_the_table_says_however_wide_its_slots_are() {
    in_both_families(|lab, w| {
        for (round, others) in (0..).zip([1, 3, 15, 200, 300]) {
            let (number, base) = (10 + round, 1000);
            let backends = fill(lab, number, base, (w.b, 1), (w.remote, others))?;
            let other_node = OtherNode::with(&backends);
            let port = 100 + u16::try_from(round)?;
            let row = FrontendRow { svc: number, near: number, far: number, ..FrontendRow::default() };
            lab.write(
                [proto::TCP, proto::UDP]
                    .map(|proto| Op::PutFrontend(Frontend { addr: w.service, port, proto }, row)),
            )?;
            let vip = World::at(w.service, port);
            for source in 20_000..20_100 {
                let from = World::at(w.a, source);
                for (proto, packet) in
                    [(proto::TCP, tcp(from, vip, SYN, b"")), (proto::UDP, udp(from, vip, b"?"))]
                {
                    let seen = lab.send(FromPod(lab.pods[0]), &packet)?;
                    let expected = other_node.chooses(w.a, Some((source, proto)));
                    let found = destination(&seen.packet);
                    ensure!(
                        found == expected,
                        "{} backends, from port {source}, {proto}: {found:?}, not {expected:?}: {:?}",
                        backends.len(),
                        seen.counted
                    );
                }
            }
        }
        Ok(())
    });
}

#[test]
fn with_affinity_the_clients_address_alone_decides_until_its_backend_is_known() {
    in_both_families(|lab, w| {
        let (number, base) = (20, 1000);
        let backends = fill(lab, number, base, (w.b, 1), (w.remote, 40))?;
        // A number for each family: what a client kept in one means nothing in another.
        let svc = if w.a.is_ipv4() { 201 } else { 202 };
        let row = FrontendRow { svc, near: number, far: number, affinity: 10_800, flags: flags::MAGLEV };
        lab.write([Op::PutFrontend(Frontend { addr: w.service, port: 100, proto: proto::TCP }, row)])?;
        let ask = |lab: &mut Lab, source| -> Result<Backend> {
            let packet = tcp(World::at(w.a, source), SocketAddr::new(w.service, 100), SYN, b"");
            Ok(destination(&lab.send(FromPod(lab.pods[0]), &packet)?.packet))
        };
        let kept = OtherNode::with(&backends).chooses(w.a, None);
        for source in 20_000..20_010 {
            ensure!(ask(lab, source)? == kept, "from port {source}");
        }
        // Others come; the client stays although the table may have another one for it.
        let more = fill(lab, number, base, (w.b, 1), (w.remote, 200))?;
        let moved = OtherNode::with(&more).chooses(w.a, None);
        ensure!(moved != kept, "the world's client would not move: another one is needed");
        ensure!(ask(lab, 21_000)? == kept, "a client that is remembered stays");
        Ok(())
    });
}
