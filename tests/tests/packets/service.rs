use netpol_agent::dataplane::{Frontend, Op, kernel::Switch};
use netpol_common::{
    config,
    direction::Direction::Egress,
    endpoint::{EndpointRow, flags},
    net::proto,
    peer::PeerRow,
    policy::SlotId,
    reason::DropReason,
};
use netpol_tests::packet::{
    FIN_ACK, Fragment,
    Hook::{FromPod, ToPod},
    PSH_ACK, RST, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, fragment, open, slot_for_pods, tcp, udp,
};

use crate::table::{
    Expect::{Drop, Known, Opens, OpensTranslated, Translated},
    in_both_families, row, send_all,
};

#[test]
fn a_connection_to_a_service_is_translated_both_ways() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        send_all(
            lab,
            vec![
                row(
                    "SYN",
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
                row(
                    "data",
                    FromPod(if_a),
                    tcp(a, vip, PSH_ACK, b"odd"),
                    Translated(HandOver, tcp(a, b, PSH_ACK, b"odd")),
                ),
                row("UDP", FromPod(if_a), udp(a, vip, b"q"), OpensTranslated(HandOver, udp(a, b, b"q"))),
                row("UDP answer", FromPod(if_b), udp(b, a, b"a"), Translated(HandOver, udp(vip, a, b"a"))),
                row(
                    "another port of it",
                    FromPod(if_a),
                    tcp(a, World::at(w.service, 81), SYN, b""),
                    Opens(Pass),
                ),
                row(
                    "mid-flow",
                    FromPod(if_a),
                    tcp(World::at(w.a, 9), vip, PSH_ACK, b""),
                    Drop(DropReason::MidFlow, Egress),
                ),
            ],
        )
    });
}

#[test]
fn without_the_fast_path_the_clients_end_translates() {
    in_both_families(|lab, w| {
        lab.maps.set_flags(config::flags::FAST_PATH, Switch::Off);
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        send_all(
            lab,
            vec![
                row(
                    "leaves the client",
                    FromPod(if_a),
                    tcp(a, vip, SYN, b""),
                    OpensTranslated(Pass, tcp(a, b, SYN, b"")),
                ),
                row("reaches the backend", ToPod(if_b, if_a), tcp(a, b, SYN, b""), Known(Pass)),
                row("leaves the backend", FromPod(if_b), tcp(b, a, SYN_ACK, b""), Known(Pass)),
                row(
                    "reaches the client",
                    ToPod(if_a, if_b),
                    tcp(b, a, SYN_ACK, b""),
                    Translated(Pass, tcp(vip, a, SYN_ACK, b"")),
                ),
            ],
        )
    });
}

#[test]
fn egress_is_judged_after_translation() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        let slot = SlotId(0x51);
        lab.write(slot_for_pods(slot))?;
        lab.write([Op::PutEndpoint(
            if_a,
            EndpointRow { slot_out: slot, flags: open().flags | flags::ISOLATED_OUT, ..open() },
        )])?;
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        send_all(
            lab,
            vec![
                // The rule names port 8080 of pods: neither the service's address nor its port.
                row(
                    "service",
                    FromPod(if_a),
                    tcp(a, vip, SYN, b""),
                    OpensTranslated(HandOver, tcp(a, b, SYN, b"")),
                ),
                row("UDP service", FromPod(if_a), udp(a, vip, b""), Drop(DropReason::Policy, Egress)),
            ],
        )?;
        let seen = lab.send(FromPod(if_a), &udp(World::at(w.a, 5), vip, b""))?;
        let [event] = &seen.events[..] else { panic!("{:?}", seen.events) };
        assert_eq!(
            (event.dport, event.nat_dport, event.slot),
            (80, 8080, slot),
            "the event knows both addresses"
        );
        Ok(())
    });
}

#[test]
fn a_reused_port_opens_anew_after_the_end() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        send_all(
            lab,
            vec![
                row(
                    "SYN",
                    FromPod(if_a),
                    tcp(a, vip, SYN, b""),
                    OpensTranslated(HandOver, tcp(a, b, SYN, b"")),
                ),
                row(
                    "FIN",
                    FromPod(if_a),
                    tcp(a, vip, FIN_ACK, b""),
                    Translated(HandOver, tcp(a, b, FIN_ACK, b"")),
                ),
                row(
                    "FIN back",
                    FromPod(if_b),
                    tcp(b, a, FIN_ACK, b""),
                    Translated(HandOver, tcp(vip, a, FIN_ACK, b"")),
                ),
                row(
                    "direct, under the same ports",
                    FromPod(if_a),
                    tcp(a, b, PSH_ACK, b""),
                    Drop(DropReason::Collision, Egress),
                ),
                row("reset", FromPod(if_a), tcp(a, vip, RST, b""), Translated(HandOver, tcp(a, b, RST, b""))),
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
        )
    });
}

#[test]
fn fragments_follow_their_first_one() {
    in_both_families(|lab, w| {
        let (if_a, if_b, uplink) = (lab.pods[0], lab.pods[1], lab.uplink);
        let (a, vip, remote) = (World::at(w.a, 40_000), World::at(w.service, 80), World::at(w.remote, 7));
        let whole = udp(remote, World::at(w.b, 53), &[b'x'; 64]);
        let early = fragment(&udp(World::at(w.a, 9), vip, &[0; 64]), Fragment::Later, 78);
        let first = fragment(&udp(a, vip, &[0; 64]), Fragment::First, 77);
        let later = fragment(&udp(a, vip, &[0; 64]), Fragment::Later, 77);
        send_all(
            lab,
            vec![
                row("first", ToPod(if_b, uplink), fragment(&whole, Fragment::First, 76), Opens(Pass)),
                row("later", ToPod(if_b, uplink), fragment(&whole, Fragment::Later, 76), Known(Pass)),
                row("without a first", FromPod(if_a), early, Drop(DropReason::Fragment, Egress)),
            ],
        )?;
        for (name, packet) in [("first", &first), ("later", &later)] {
            let seen = lab.send(FromPod(if_a), packet)?;
            assert_eq!(seen.verdict, HandOver, "{name} fragment to the service: {:?}", seen.counted);
            let dst = if w.a.is_ipv4() { 30..34 } else { 38..54 };
            let expected = match w.b {
                std::net::IpAddr::V4(addr) => addr.octets().to_vec(),
                std::net::IpAddr::V6(addr) => addr.octets().to_vec(),
            };
            assert_eq!(seen.packet[dst], expected, "{name} fragment to the service");
        }
        Ok(())
    });
}

#[test]
fn a_service_that_is_gone_leaves_no_backend_behind_for_its_address() {
    in_both_families(|lab, w| {
        let (if_a, if_other) = (lab.pods[0], lab.pods[2]);
        let (a, b, vip) = (World::at(w.a, 40_000), World::at(w.b, 8080), World::at(w.service, 80));
        let asks = || udp(a, vip, b"?");
        send_all(
            lab,
            vec![row("through it", FromPod(if_a), asks(), OpensTranslated(HandOver, udp(a, b, b"?")))],
        )?;
        // The backend's address is another pod's now, so that the connection is none of before.
        lab.write([
            Op::DeleteFrontend(Frontend { addr: w.service, port: 80, proto: proto::UDP }),
            Op::PutPeer(w.b, PeerRow { ifindex: if_other, ..PeerRow::default() }),
            Op::PutEndpoint(if_other, open()),
            Op::AdvanceEpoch,
        ])?;
        send_all(lab, vec![row("an address like any other", FromPod(if_a), asks(), Opens(Pass))])
    });
}
