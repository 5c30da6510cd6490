//! At the backend's node.

use netpol_agent::dataplane::{Op, SourceRange};
use netpol_common::{
    endpoint::{EndpointRow, flags as endpoint},
    peer::CidrRow,
    policy::{ClassId, PolicyKey, PolicyRow, PortSetId, RuleId, SlotId},
    reason::DropReason,
    service::flags,
};
use netpol_tests::packet::{
    Fragment, Hook::FromPod, PSH_ACK, Place, RST, SYN, SYN_ACK, Uplink::FromNetdev, Verdict::HandOver, World,
    encapsulated, fragment, open, packet_too_big, tcp, udp, unreachable,
};

use super::{
    super::{NODE_PORT, SVC, in_a_node, sent},
    other_node, refused, settle,
};
use crate::{
    errors::same_but_for_quoted_checksum,
    table::{
        Expect::{OpensTranslated, Translated},
        row, send_all,
    },
};

#[test]
fn a_backend_here_sees_the_client_and_answers_it_directly() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        settle(lab, &o, &[w.b])?;
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, b) = (World::at(o.client, 4000), World::at(w.b, 8080));
        // The node port of the other node, which has no row here.
        let vip = World::at(other_node(&o), NODE_PORT);
        let comes = |packet: &[u8]| encapsulated(other_node(&o), b, packet);
        let long = udp(c, vip, &[7; 792]);
        let [first, later] = [Fragment::First, Fragment::Later].map(|which| fragment(&long, which, 77));
        let translated = udp(c, b, &[7; 792]);
        let [first_out, later_out] =
            [Fragment::First, Fragment::Later].map(|which| fragment(&translated, which, 77));
        // Of a later one nothing but addresses is known.
        let mut later_out = later_out;
        let data = later.len() - 800;
        later_out[data..].copy_from_slice(&later[data..]);
        send_all(
            lab,
            vec![
                row(
                    "SYN",
                    FromNetdev(up),
                    comes(&tcp(c, vip, SYN, b"")),
                    OpensTranslated(HandOver, tcp(c, b, SYN, b"")),
                ),
                row(
                    "SYN ACK",
                    FromPod(if_b),
                    tcp(b, c, SYN_ACK, b""),
                    Translated(HandOver, sent(tcp(vip, c, SYN_ACK, b""))),
                ),
                row(
                    "data",
                    FromNetdev(up),
                    comes(&tcp(c, vip, PSH_ACK, b"odd")),
                    Translated(HandOver, tcp(c, b, PSH_ACK, b"odd")),
                ),
                row(
                    "UDP",
                    FromNetdev(up),
                    comes(&udp(c, vip, b"?")),
                    OpensTranslated(HandOver, udp(c, b, b"?")),
                ),
                row(
                    "UDP answer",
                    FromPod(if_b),
                    udp(b, c, b"!"),
                    Translated(HandOver, sent(udp(vip, c, b"!"))),
                ),
                row(
                    "in the middle of one that is not known here",
                    FromNetdev(up),
                    comes(&tcp(World::at(o.client, 4001), vip, PSH_ACK, b"odd")),
                    OpensTranslated(HandOver, tcp(World::at(o.client, 4001), b, PSH_ACK, b"odd")),
                ),
            ],
        )?;
        for (name, carried, expected) in [("first", first, first_out), ("later", later, later_out)] {
            let seen = lab.send(FromNetdev(up), &comes(&carried))?;
            assert_eq!((seen.verdict, seen.packet), (HandOver, expected), "the {name} fragment");
        }
        let end = comes(&tcp(World::at(o.client, 4002), vip, RST, b""));
        refused(lab, "the end of one that is not known here", &end, DropReason::MidFlow)
    });
}

#[test]
fn a_report_on_an_answer_reaches_the_pod() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, 0)?;
        settle(lab, &o, &[w.b])?;
        let (up, if_b) = (lab.uplink, lab.pods[1]);
        let (c, b, vip) =
            (World::at(o.client, 4000), World::at(w.b, 8080), World::at(other_node(&o), NODE_PORT));
        let comes = |packet: &[u8]| encapsulated(other_node(&o), b, packet);
        lab.send(FromNetdev(up), &comes(&udp(c, vip, b"?")))?;
        let answer = udp(vip, c, b"12345678");
        for (name, place, packet, expected) in [
            (
                "the client's",
                Place::from(FromNetdev(up)),
                comes(&packet_too_big(o.client, vip.ip(), 1300, &answer)),
                packet_too_big(o.client, w.b, 1300, &udp(b, c, b"12345678")),
            ),
            (
                "the pod's",
                Place::from(FromPod(if_b)),
                unreachable(w.b, o.client, &udp(c, b, b"12345678")),
                sent(unreachable(vip.ip(), o.client, &udp(c, vip, b"12345678"))),
            ),
        ] {
            let seen = lab.send(place, &packet)?;
            assert_eq!(seen.verdict, HandOver, "{name}: {:?}", seen.counted);
            same_but_for_quoted_checksum(name, &seen.packet, &expected);
        }
        Ok(())
    });
}

#[test]
fn the_pods_policy_and_the_source_ranges_speak_of_the_client() {
    in_a_node(|lab, w, o| {
        o.settle(lab, &[w.b], 1, flags::SOURCE_RANGES)?;
        settle(lab, &o, &[w.b])?;
        let (c, b) = (World::at(o.client, 4000), World::at(w.b, 8080));
        let ask = encapsulated(other_node(&o), b, &udp(c, World::at(other_node(&o), NODE_PORT), b"?"));
        refused(lab, "in no range", &ask, DropReason::SourceRange)?;
        lab.write([Op::PutRange(SourceRange { svc: SVC, net: o.client.into() })])?;
        let isolated =
            EndpointRow { slot_in: SlotId(1), flags: open().flags | endpoint::ISOLATED_IN, ..open() };
        lab.write([Op::PutEndpoint(lab.pods[1], isolated)])?;
        refused(lab, "no rule", &ask, DropReason::Policy)?;
        let class = ClassId(0xc11e);
        let any = RuleId(RuleId::HASHED | 9);
        lab.write([
            Op::PutCidr(o.client.into(), CidrRow { class }),
            Op::PutPolicy(
                PolicyKey { slot: SlotId(1), class },
                PolicyRow { any, ports: PortSetId(0), tcp: 0, udp: 0, sctp: 0, pad: 0 },
            ),
            Op::AdvanceEpoch,
        ])?;
        let opens = OpensTranslated(HandOver, udp(c, b, b"?"));
        send_all(lab, vec![row("a rule for the client's own address", FromNetdev(lab.uplink), ask, opens)])
    });
}
