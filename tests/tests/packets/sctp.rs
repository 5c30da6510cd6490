//! SCTP through a Service: addresses are translated, and nothing that its checksum covers.

use netpol_agent::dataplane::{Backend, Frontend, Op};
use netpol_common::{
    direction::Direction::Egress,
    net::proto,
    reason::DropReason,
    service::{FrontendRow, ServiceRow},
};
use netpol_tests::packet::{Hook::FromPod, Lab, Verdict::HandOver, World, sctp};

use crate::table::{
    Expect::{Drop, Known, Opens, OpensTranslated, Translated},
    in_both_families, row, send_all,
};

const PORT: u16 = 3868;
const SVC: u32 = 5;

/// A Service whose port is its target port, and another one of the same backend.
fn settle(lab: &mut Lab, w: &World) -> anyhow::Result<()> {
    let row = FrontendRow { svc: SVC, near: SVC, far: SVC, ..FrontendRow::default() };
    lab.write([
        Op::WriteBackends { base: 60, backends: [Backend { addr: w.b, port: PORT }].into() },
        Op::PutService(SVC, ServiceRow::new(60, 1, 1).expect("in range")),
        Op::PutFrontend(Frontend { addr: w.service, port: PORT, proto: proto::SCTP }, row),
        Op::PutFrontend(Frontend { addr: w.stranger, port: PORT, proto: proto::SCTP }, row),
    ])
}

#[test]
fn an_association_is_translated_both_ways_and_keeps_its_ports() {
    in_both_families(|lab, w| {
        settle(lab, &w)?;
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, PORT), World::at(w.service, PORT));
        send_all(
            lab,
            vec![
                row("INIT", FromPod(if_a), sctp(a, vip), OpensTranslated(HandOver, sctp(a, b))),
                row("INIT ACK", FromPod(if_b), sctp(b, a), Translated(HandOver, sctp(vip, a))),
                row("more", FromPod(if_a), sctp(a, vip), Translated(HandOver, sctp(a, b))),
            ],
        )
    });
}

#[test]
fn a_pod_reaches_itself() {
    in_both_families(|lab, w| {
        settle(lab, &w)?;
        let if_b = lab.pods[1];
        let (b, vip) = (World::at(w.b, 40_000), World::at(w.service, PORT));
        let (served, as_client) = (World::at(w.b, PORT), World::at(w.service, 40_000));
        send_all(
            lab,
            vec![
                row("INIT", FromPod(if_b), sctp(b, vip), OpensTranslated(HandOver, sctp(as_client, served))),
                row("INIT ACK", FromPod(if_b), sctp(served, as_client), Translated(HandOver, sctp(vip, b))),
            ],
        )
    });
}

#[test]
fn a_port_that_is_taken_at_the_backend_is_refused_since_it_cannot_change() {
    in_both_families(|lab, w| {
        settle(lab, &w)?;
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let at = |addr| World::at(addr, PORT);
        let (a, other) = (World::at(w.a, 40_000), World::at(w.a, 40_001));
        let collides = || Drop(DropReason::Collision, Egress);
        send_all(
            lab,
            vec![
                row(
                    "first",
                    FromPod(if_a),
                    sctp(a, at(w.service)),
                    OpensTranslated(HandOver, sctp(a, at(w.b))),
                ),
                row("by another address", FromPod(if_a), sctp(a, at(w.stranger)), collides()),
                row("directly", FromPod(if_a), sctp(a, at(w.b)), collides()),
                row("answer", FromPod(if_b), sctp(at(w.b), a), Translated(HandOver, sctp(at(w.service), a))),
                row("directly, first", FromPod(if_a), sctp(other, at(w.b)), Opens(HandOver)),
                row("and then not", FromPod(if_a), sctp(other, at(w.service)), collides()),
                row("answer to that", FromPod(if_b), sctp(at(w.b), other), Known(HandOver)),
            ],
        )
    });
}
