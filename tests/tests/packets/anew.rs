//! Clients that go on under the same addresses and ports when their backend, or their Service, is another.

use std::net::SocketAddr;

use anyhow::Result;
use netpol_agent::dataplane::{Backend, Frontend, Member, Op};
use netpol_common::{
    direction::Direction::Egress,
    net::proto,
    reason::DropReason::NoLocalBackend,
    service::{FrontendRow, ServiceRow},
};
use netpol_tests::packet::{
    ETHERNET,
    Hook::FromPod,
    Lab, PSH_ACK, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, reset_of, tcp, udp, unreachable_of,
};

use crate::table::{
    Expect::{Drop, Opens, OpensTranslated, Refused, Translated},
    in_both_families, row, send_all,
};

fn svc(w: &World) -> u32 {
    if w.a.is_ipv4() { 1 } else { 2 }
}

fn member(w: &World, to: SocketAddr) -> Member {
    Member { svc: svc(w), backend: Backend { addr: to.ip(), port: to.port() } }
}

/// From now on new connections get this one.
fn chosen_is(lab: &mut Lab, w: &World, to: SocketAddr) -> Result<()> {
    lab.write([
        Op::WriteBackends { base: 50, backends: [Backend { addr: to.ip(), port: to.port() }].into() },
        Op::PutService(svc(w), ServiceRow::new(50, 0, 1).expect("in range")),
        Op::PutMember(member(w, to)),
        Op::AdvanceEpoch,
    ])
}

/// It answers no more.
fn is_gone(lab: &mut Lab, w: &World, to: SocketAddr) -> Result<()> {
    lab.write([Op::DeleteMember(member(w, to)), Op::AdvanceEpoch])
}

#[test]
fn datagrams_follow_the_backends_and_stay_with_one_that_drains() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let (a, vip) = (World::at(w.a, 4000), World::at(w.service, 80));
        let (first, next) = (World::at(w.b, 8080), World::at(w.remote, 8080));
        let asks = |name, expect| row(name, FromPod(if_a), udp(a, vip, b"?"), expect);
        chosen_is(lab, &w, first)?;
        send_all(lab, vec![asks("first", OpensTranslated(HandOver, udp(a, first, b"?")))])?;
        chosen_is(lab, &w, next)?;
        send_all(lab, vec![asks("it drains", Translated(HandOver, udp(a, first, b"?")))])?;
        is_gone(lab, &w, first)?;
        send_all(lab, vec![asks("it is gone", OpensTranslated(Pass, udp(a, next, b"?")))])?;
        send_all(lab, vec![asks("and again", Translated(Pass, udp(a, next, b"?")))])
    });
}

#[test]
fn datagrams_find_a_target_port_that_has_changed() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let (a, vip) = (World::at(w.a, 4000), World::at(w.service, 80));
        let (old, new) = (World::at(w.b, 8080), World::at(w.b, 9090));
        let asks = |name, expect| row(name, FromPod(if_a), udp(a, vip, b"?"), expect);
        chosen_is(lab, &w, old)?;
        send_all(lab, vec![asks("before", OpensTranslated(HandOver, udp(a, old, b"?")))])?;
        chosen_is(lab, &w, new)?;
        is_gone(lab, &w, old)?;
        send_all(lab, vec![asks("after", OpensTranslated(HandOver, udp(a, new, b"?")))])?;
        let answer =
            row("answer", FromPod(lab.pods[1]), udp(new, a, b"!"), Translated(HandOver, udp(vip, a, b"!")));
        send_all(lab, vec![answer])
    });
}

#[test]
fn datagrams_to_nobody_are_refused_and_find_whoever_comes() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let (a, vip, b) = (World::at(w.a, 4000), World::at(w.service, 80), World::at(w.b, 8080));
        let asks = |name, expect| row(name, FromPod(if_a), udp(a, vip, b"?"), expect);
        let refused = || Refused(unreachable_of(&udp(a, vip, b"?")));
        lab.write([Op::PutService(svc(&w), ServiceRow::REFUSE)])?;
        send_all(lab, vec![asks("before anybody", refused()), asks("still", refused())])?;
        chosen_is(lab, &w, b)?;
        send_all(lab, vec![asks("somebody", OpensTranslated(HandOver, udp(a, b, b"?")))])?;
        lab.write([Op::PutService(svc(&w), ServiceRow::REFUSE)])?;
        is_gone(lab, &w, b)?;
        send_all(lab, vec![asks("the last one is gone", refused())])?;
        lab.write([Op::PutService(svc(&w), ServiceRow::DROP), Op::AdvanceEpoch])?;
        send_all(lab, vec![asks("others are elsewhere", Drop(NoLocalBackend, Egress))])?;
        chosen_is(lab, &w, b)?;
        send_all(lab, vec![asks("it is back", Translated(HandOver, udp(a, b, b"?")))])
    });
}

#[test]
fn an_address_becomes_a_services_for_who_has_spoken_to_it_before() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, vip, b) = (World::at(w.a, 4000), World::at(w.service, 443), World::at(w.b, 8080));
        let early = || {
            vec![
                row("datagram", FromPod(if_a), udp(a, vip, b"?"), Opens(Pass)),
                row("SYN", FromPod(if_a), tcp(a, vip, SYN, b""), Opens(Pass)),
            ]
        };
        send_all(lab, early())?;
        chosen_is(lab, &w, b)?;
        let (svc, at) = (svc(&w), |proto| Frontend { addr: w.service, port: 443, proto });
        let service = FrontendRow { svc, near: svc, far: svc, ..FrontendRow::default() };
        lab.write([proto::TCP, proto::UDP].map(|proto| Op::PutFrontend(at(proto), service)))?;
        lab.write([Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row("datagram", FromPod(if_a), udp(a, vip, b"?"), OpensTranslated(HandOver, udp(a, b, b"?"))),
                row(
                    "SYN again",
                    FromPod(if_a),
                    tcp(a, vip, SYN, b""),
                    OpensTranslated(HandOver, tcp(a, b, SYN, b"")),
                ),
                row(
                    "SYN ACK",
                    FromPod(if_b),
                    tcp(b, a, SYN_ACK, b""),
                    Translated(HandOver, tcp(vip, a, SYN_ACK, b"")),
                ),
            ],
        )?;
        // And an address like any other again, if the Service goes.
        lab.write([proto::TCP, proto::UDP].map(|proto| Op::DeleteFrontend(at(proto))))?;
        is_gone(lab, &w, b)?;
        send_all(lab, vec![row("datagram", FromPod(if_a), udp(a, vip, b"?"), Opens(Pass))])
    });
}

#[test]
fn tcp_lives_on_with_a_backend_that_is_gone_and_a_syn_gets_another() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, vip) = (World::at(w.a, 4000), World::at(w.service, 80));
        let (old, new) = (World::at(w.b, 8080), World::at(w.remote, 8080));
        let syn = |name, expect| row(name, FromPod(if_a), tcp(a, vip, SYN, b""), expect);
        chosen_is(lab, &w, old)?;
        send_all(
            lab,
            vec![
                syn("SYN", OpensTranslated(HandOver, tcp(a, old, SYN, b""))),
                syn("SYN once more", Translated(HandOver, tcp(a, old, SYN, b""))),
                row(
                    "SYN ACK",
                    FromPod(if_b),
                    tcp(old, a, SYN_ACK, b""),
                    Translated(HandOver, tcp(vip, a, SYN_ACK, b"")),
                ),
                syn("SYN that has crossed it", Translated(HandOver, tcp(a, old, SYN, b""))),
            ],
        )?;
        chosen_is(lab, &w, new)?;
        is_gone(lab, &w, old)?;
        send_all(
            lab,
            vec![
                row(
                    "data",
                    FromPod(if_a),
                    tcp(a, vip, PSH_ACK, b"x"),
                    Translated(HandOver, tcp(a, old, PSH_ACK, b"x")),
                ),
                row(
                    "data back",
                    FromPod(if_b),
                    tcp(old, a, PSH_ACK, b"y"),
                    Translated(HandOver, tcp(vip, a, PSH_ACK, b"y")),
                ),
                // Judged under this epoch, so nothing but the SYN says that the client has begun anew.
                syn("a client that has forgotten it", OpensTranslated(Pass, tcp(a, new, SYN, b""))),
                row(
                    "data to the new one",
                    FromPod(if_a),
                    tcp(a, vip, PSH_ACK, b"x"),
                    Translated(Pass, tcp(a, new, PSH_ACK, b"x")),
                ),
            ],
        )?;
        lab.write([Op::PutService(svc(&w), ServiceRow::REFUSE), Op::AdvanceEpoch])?;
        let l4 = ETHERNET + if w.a.is_ipv4() { 20 } else { 40 };
        send_all(lab, vec![syn("nobody is left", Refused(reset_of(&tcp(a, vip, SYN, b""), l4)))])
    });
}
