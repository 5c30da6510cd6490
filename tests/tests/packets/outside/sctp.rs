//! SCTP of clients outside, to a load balancer's address: no port changes.

use netpol_agent::dataplane::{Backend, Frontend, Op};
use netpol_common::{
    direction::Direction::Ingress,
    net::proto,
    reason::DropReason,
    service::{FrontendRow, ServiceRow, flags},
};
use netpol_tests::packet::{Hook::FromPod, Lab, Uplink::FromNetdev, Verdict::HandOver, World, sctp};

use super::{FAR, SVC, in_a_node, sent};
use crate::table::{
    Expect::{Drop, OpensTranslated, Translated},
    row, send_all,
};

const PORT: u16 = 3868;

fn settle(lab: &mut Lab, w: &World, backend: std::net::IpAddr) -> anyhow::Result<()> {
    let row = FrontendRow { svc: SVC, near: FAR, far: FAR, flags: flags::EXTERNAL, affinity: 0 };
    lab.write([
        Op::WriteBackends { base: 60, backends: [Backend { addr: backend, port: PORT }].into() },
        Op::PutService(FAR, ServiceRow::new(60, 1, 1).expect("in range")),
        Op::PutFrontend(Frontend { addr: w.service, port: PORT, proto: proto::SCTP }, row),
    ])
}

#[test]
fn a_pod_of_this_node_sees_the_client() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        settle(lab, &w, w.b)?;
        let (c, vip, b) = (World::at(o.client, 4000), World::at(w.service, PORT), World::at(w.b, PORT));
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        send_all(
            lab,
            vec![
                row("INIT", FromNetdev(up), sctp(c, vip), OpensTranslated(HandOver, sctp(c, b))),
                row("INIT ACK", FromPod(if_b), sctp(b, c), Translated(HandOver, sent(sctp(vip, c)))),
            ],
        )
    });
}

#[test]
fn a_pod_of_another_node_sees_this_one_under_the_clients_port_while_that_is_free() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[o.elsewhere], 0, 0)?;
        settle(lab, &w, o.elsewhere)?;
        let (c, vip) = (World::at(o.client, 4000), World::at(w.service, PORT));
        let (n, b) = (World::at(o.node, 4000), World::at(o.elsewhere, PORT));
        let up = lab.uplink;
        send_all(
            lab,
            vec![
                row("INIT", FromNetdev(up), sctp(c, vip), OpensTranslated(HandOver, sent(sctp(n, b)))),
                row("INIT ACK", FromNetdev(up), sctp(b, n), Translated(HandOver, sent(sctp(vip, c)))),
                row(
                    "another client with this port",
                    FromNetdev(up),
                    sctp(World::at(w.stranger, 4000), vip),
                    Drop(DropReason::Collision, Ingress),
                ),
            ],
        )
    });
}
