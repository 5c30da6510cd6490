//! Session affinity: which backend a client's next connection gets.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use netpol_agent::dataplane::{Backend, Frontend, Member, Op, kernel::RunContext};
use netpol_common::{
    names,
    net::proto,
    service::{FrontendRow, ServiceRow},
};
use netpol_tests::packet::{Hook::FromPod, Lab, SYN, World, tcp, udp};

use crate::table::in_both_families;

/// A Service of three backends, and its rows.
struct Service {
    vip: IpAddr,
    svc: u32,
    base: u32,
    backends: Vec<Backend>,
}

/// A number for the Services of each test: what a client kept in one means nothing in another.
fn service(lab: &mut Lab, w: &World, number: u32, affinity: u32) -> Result<Service> {
    let svc = 10 * number + if w.a.is_ipv4() { 1 } else { 2 };
    let mut backends: Vec<_> =
        [(w.b, 8080), (w.remote, 8080), (w.remote, 9090)].map(|(addr, port)| Backend { addr, port }).into();
    backends.sort();
    let service = Service { vip: w.service, svc, base: 100, backends };
    service.consists_of(lab, &service.backends)?;
    service.answers(lab, 80, affinity)?;
    Ok(service)
}

impl Service {
    fn consists_of(&self, lab: &mut Lab, backends: &[Backend]) -> Result<()> {
        let n = u32::try_from(backends.len())?;
        let row = ServiceRow::new(self.base, 0, n).expect("in range");
        lab.write([
            Op::WriteBackends { base: self.base, backends: backends.into() },
            Op::PutService(self.svc, row),
        ])
    }

    fn answers(&self, lab: &mut Lab, port: u16, affinity: u32) -> Result<()> {
        let row =
            FrontendRow { svc: self.svc, near: self.svc, far: self.svc, affinity, ..FrontendRow::default() };
        lab.write(
            [proto::TCP, proto::UDP]
                .map(|proto| Op::PutFrontend(Frontend { addr: self.vip, port, proto }, row)),
        )
    }

    /// Who answers `count` new connections of a client.
    fn chosen(
        &self,
        lab: &mut Lab,
        client: (u32, IpAddr),
        port: u16,
        count: u16,
    ) -> Result<BTreeSet<Backend>> {
        let mut chosen = BTreeSet::new();
        lab.connections.clear()?;
        for number in 0..count {
            let from = SocketAddr::new(client.1, 20_000 + number);
            let seen = lab.send(FromPod(client.0), &tcp(from, SocketAddr::new(self.vip, port), SYN, b""))?;
            let to = destination(&seen.packet);
            let backend = Backend { addr: to.ip(), port: to.port() };
            ensure!(self.backends.contains(&backend), "{to} is no backend: {:?}", seen.counted);
            chosen.insert(backend);
        }
        Ok(chosen)
    }
}

fn destination(packet: &[u8]) -> SocketAddr {
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    if packet[12..14] == [8, 0] {
        SocketAddr::new(<[u8; 4]>::try_from(&packet[30..34]).expect("four bytes").into(), port(36))
    } else {
        SocketAddr::new(<[u8; 16]>::try_from(&packet[38..54]).expect("sixteen bytes").into(), port(56))
    }
}

#[test]
fn a_client_keeps_its_backend_by_every_way_into_the_port() {
    in_both_families(|lab, w| {
        let service = service(lab, &w, 1, 10_800)?;
        service.answers(lab, 443, 10_800)?;
        let client = (lab.pods[0], w.a);
        let kept = service.chosen(lab, client, 80, 50)?;
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(service.chosen(lab, client, 443, 50)?, kept, "another frontend of the same port");
        let datagram = udp(World::at(w.a, 7), World::at(w.service, 80), b"?");
        let to = destination(&lab.send(FromPod(lab.pods[0]), &datagram)?.packet);
        assert!(kept.contains(&Backend { addr: to.ip(), port: to.port() }), "{to} is not {kept:?}");
        Ok(())
    });
}

#[test]
fn affinity_can_be_turned_off_and_on_again() {
    in_both_families(|lab, w| {
        let service = service(lab, &w, 2, 10_800)?;
        let client = (lab.pods[0], w.a);
        assert_eq!(service.chosen(lab, client, 80, 50)?.len(), 1);
        service.answers(lab, 80, 0)?;
        assert_eq!(service.chosen(lab, client, 80, 200)?.len(), 3, "without it all of them are chosen");
        service.answers(lab, 80, 10_800)?;
        assert_eq!(service.chosen(lab, client, 80, 50)?.len(), 1);
        Ok(())
    });
}

#[test]
fn a_backend_that_is_chosen_no_more_keeps_no_client_though_it_may_still_answer() {
    in_both_families(|lab, w| {
        let service = service(lab, &w, 3, 10_800)?;
        let client = (lab.pods[0], w.a);
        let kept = service.chosen(lab, client, 80, 10)?;
        // It drains: it is a member, and in nobody's set.
        lab.write(kept.iter().map(|backend| Op::PutMember(Member { svc: service.svc, backend: *backend })))?;
        let others: Vec<_> = service.backends.iter().filter(|b| !kept.contains(b)).copied().collect();
        service.consists_of(lab, &others)?;
        let next = service.chosen(lab, client, 80, 50)?;
        assert!(next.len() == 1 && next.is_disjoint(&kept), "{next:?} after {kept:?}");
        service.consists_of(lab, &service.backends)?;
        assert_eq!(service.chosen(lab, client, 80, 50)?, next, "the one before is forgotten");
        Ok(())
    });
}

#[test]
fn a_client_that_stays_away_for_longer_than_the_timeout_is_balanced_anew() {
    in_both_families(|lab, w| {
        let service = service(lab, &w, 4, 2)?;
        let client = (lab.pods[0], w.a);
        // A second of one jiffy, so that the timeout is two.
        lab.maps.switches().set_frequency(1);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut seen = service.chosen(lab, client, 80, 1)?;
        while seen.len() < 3 {
            assert!(Instant::now() < deadline, "only {seen:?} after many timeouts");
            let last = jiffies(lab)?;
            while jiffies(lab)?.wrapping_sub(last) < 4 {}
            seen.extend(service.chosen(lab, client, 80, 1)?);
        }
        Ok(())
    });
}

/// The low 31 bits of the kernel's jiffies.
fn jiffies(lab: &Lab) -> Result<u32> {
    let context = RunContext { ifindex: 0, ingress_ifindex: 0, repeat: 1, mark: 0 };
    Ok(lab.object.test_run(names::CLOCK, &[0; 64], context)?.action.cast_unsigned())
}
