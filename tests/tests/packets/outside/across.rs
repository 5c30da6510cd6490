//! Between pods of this node and those of others, past the node's own forwarding.

use std::{process::Command, time::Duration};

use netpol_agent::dataplane::{
    Backend, Op,
    kernel::{RunContext, Switch},
};
use netpol_common::{
    config::flags::{ACROSS4, ACROSS6},
    direction::Direction::Ingress,
    endpoint::{EndpointRow, flags},
    names,
    policy::SlotId,
    reason::DropReason,
    service::ServiceRow,
};
use netpol_tests::{
    eventually,
    packet::{
        ETHERNET, FIN_ACK, Fragment,
        Hook::{FromPod, ToPod},
        Lab, PSH_ACK, RST, SYN, SYN_ACK,
        Uplink::FromNetdev,
        Verdict::{HandOver, Pass},
        World, echo_reply, echo_request, fragment, open, tcp, udp, with_ipv4_options,
    },
};

use crate::table::{
    Expect::{Drop, Known, Opens, OpensTranslated, Translated},
    row, send_all,
};

use super::{Outside, in_a_node, one_hop_fewer};

fn across(lab: &Lab, switch: Switch) {
    lab.maps.set_flags(ACROSS4 | ACROSS6, switch);
}

/// What the routing has said holds until then.
fn await_tick(lab: &Lab) {
    let context = RunContext { ifindex: 0, ingress_ifindex: 0, repeat: 1, mark: 0 };
    let jiffies =
        || lab.object.test_run(names::CLOCK, &[0; 64], context).expect("the clock's program").action;
    let then = jiffies();
    eventually(Duration::from_secs(1), "the clock ticks", || jiffies() != then);
}

fn settle(lab: &mut Lab, w: World, o: &Outside) -> anyhow::Result<()> {
    o.settle(lab, &[w.b], 1, 0)?;
    across(lab, Switch::On);
    Ok(())
}

#[test]
fn a_pod_of_another_node_is_reached_and_heard_past_the_nodes_own_forwarding() {
    in_a_node(|lab, w, o| {
        settle(lab, w, &o)?;
        let (up, if_a) = (lab.uplink, lab.pods[0]);
        let (a, r) = (World::at(w.a, 4000), World::at(w.remote, 8080));
        let out = |packet: Vec<u8>| Translated(HandOver, one_hop_fewer(packet));
        send_all(
            lab,
            vec![
                row(
                    "SYN",
                    FromPod(if_a),
                    tcp(a, r, SYN, b""),
                    OpensTranslated(HandOver, one_hop_fewer(tcp(a, r, SYN, b""))),
                ),
                row("SYN ACK", FromNetdev(up), tcp(r, a, SYN_ACK, b""), Known(HandOver)),
                row("data", FromPod(if_a), tcp(a, r, PSH_ACK, b"odd"), out(tcp(a, r, PSH_ACK, b"odd"))),
                row("answer", FromNetdev(up), tcp(r, a, PSH_ACK, b"?"), Known(HandOver)),
                row("flags that make no sense", FromNetdev(up), tcp(r, a, SYN | RST, b""), Known(Pass)),
                row("FIN", FromPod(if_a), tcp(a, r, FIN_ACK, b""), out(tcp(a, r, FIN_ACK, b""))),
                row("FIN back", FromNetdev(up), tcp(r, a, FIN_ACK, b""), Known(HandOver)),
                // What both programs of the pod would ask in their turn.
                row("the other way over again", FromNetdev(up), tcp(r, a, SYN, b""), Known(Pass)),
                row(
                    "UDP",
                    FromPod(if_a),
                    udp(a, r, b"?"),
                    OpensTranslated(HandOver, one_hop_fewer(udp(a, r, b"?"))),
                ),
                row("UDP answer", FromNetdev(up), udp(r, a, b"!"), Known(HandOver)),
                row(
                    "ping",
                    FromPod(if_a),
                    echo_request(w.a, w.remote, 7),
                    OpensTranslated(HandOver, one_hop_fewer(echo_request(w.a, w.remote, 7))),
                ),
                row("pong", FromNetdev(up), echo_reply(w.remote, w.a, 7), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn what_a_pod_of_another_node_opens_is_judged_at_its_receiver_first() {
    in_a_node(|lab, w, o| {
        settle(lab, w, &o)?;
        let (up, if_a) = (lab.uplink, lab.pods[0]);
        let (a, r) = (World::at(w.a, 8080), World::at(w.remote, 4000));
        send_all(
            lab,
            vec![
                row("nobody knows it", FromNetdev(up), tcp(r, a, SYN, b""), Known(Pass)),
                row("judged", ToPod(if_a, up), tcp(r, a, SYN, b""), Opens(Pass)),
                row("once more", FromNetdev(up), tcp(r, a, SYN, b""), Known(HandOver)),
                row(
                    "answer",
                    FromPod(if_a),
                    tcp(a, r, SYN_ACK, b""),
                    Translated(HandOver, one_hop_fewer(tcp(a, r, SYN_ACK, b""))),
                ),
                row("data", FromNetdev(up), tcp(r, a, PSH_ACK, b"x"), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn a_decision_of_another_epoch_is_no_decision() {
    in_a_node(|lab, w, o| {
        settle(lab, w, &o)?;
        let (up, if_a) = (lab.uplink, lab.pods[0]);
        let (a, r) = (World::at(w.a, 8080), World::at(w.remote, 4000));
        let data = || tcp(r, a, PSH_ACK, b"x");
        let back = || tcp(a, r, PSH_ACK, b"y");
        send_all(lab, vec![row("SYN", ToPod(if_a, up), tcp(r, a, SYN, b""), Opens(Pass))])?;
        let closed = EndpointRow { slot_in: SlotId(5), flags: open().flags | flags::ISOLATED_IN, ..open() };
        lab.write([Op::PutEndpoint(if_a, closed)])?;
        send_all(lab, vec![row("before the epoch", FromNetdev(up), data(), Known(HandOver))])?;
        lab.write([Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row("left to the pod's program", FromNetdev(up), data(), Known(Pass)),
                row("which drops it", ToPod(if_a, up), data(), Drop(DropReason::Policy, Ingress)),
                row("denied now", FromNetdev(up), data(), Known(Pass)),
                row("and its answers", FromPod(if_a), back(), Drop(DropReason::Policy, Ingress)),
            ],
        )?;
        lab.write([Op::PutEndpoint(if_a, open()), Op::AdvanceEpoch])?;
        send_all(
            lab,
            vec![
                row("allowed again", FromPod(if_a), back(), Translated(HandOver, one_hop_fewer(back()))),
                row("by one packet", FromNetdev(up), data(), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn without_the_switch_the_node_forwards_and_with_that_of_the_other_family_too() {
    in_a_node(|lab, w, o| {
        settle(lab, w, &o)?;
        let (up, if_a) = (lab.uplink, lab.pods[0]);
        let (a, r) = (World::at(w.a, 4000), World::at(w.remote, 8080));
        let (out, back) = (|| tcp(a, r, PSH_ACK, b"x"), || tcp(r, a, PSH_ACK, b"y"));
        across(lab, Switch::Off);
        send_all(
            lab,
            vec![
                row("SYN", FromPod(if_a), tcp(a, r, SYN, b""), Opens(Pass)),
                row("back", FromNetdev(up), back(), Known(Pass)),
                row("and on", ToPod(if_a, up), back(), Known(Pass)),
            ],
        )?;
        let (own, other) = if w.a.is_ipv4() { (ACROSS4, ACROSS6) } else { (ACROSS6, ACROSS4) };
        lab.maps.set_flags(other, Switch::On);
        send_all(
            lab,
            vec![
                row("out by the node", FromPod(if_a), out(), Known(Pass)),
                row("in by the node", FromNetdev(up), back(), Known(Pass)),
            ],
        )?;
        lab.maps.set_flags(own, Switch::On);
        send_all(
            lab,
            vec![
                row("out", FromPod(if_a), out(), Translated(HandOver, one_hop_fewer(out()))),
                row("in", FromNetdev(up), back(), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn what_the_nodes_forwarding_has_more_to_do_with_than_to_pass_on_is_left_to_it() {
    in_a_node(|lab, w, o| {
        settle(lab, w, &o)?;
        let (up, if_a) = (lab.uplink, lab.pods[0]);
        let (a, r, s) = (World::at(w.a, 4000), World::at(w.remote, 8080), World::at(w.stranger, 8080));
        let data = tcp(a, r, PSH_ACK, b"x");
        let mut last_hop = data.clone();
        if w.a.is_ipv4() {
            // The checksum goes with it: 63 less in the high byte of a word.
            last_hop[ETHERNET + 8] = 1;
            let sum = u16::from_be_bytes([last_hop[ETHERNET + 10], last_hop[ETHERNET + 11]]);
            let (sum, carry) = sum.overflowing_add(63 << 8);
            let sum = sum + u16::from(carry);
            last_hop[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
        } else {
            last_hop[ETHERNET + 7] = 1;
        }
        let mut to_many = data.clone();
        to_many[..6].fill(0xff);
        let mut for_another = tcp(r, a, PSH_ACK, b"y");
        for_another[5] = 9;
        send_all(
            lab,
            vec![
                row(
                    "SYN",
                    FromPod(if_a),
                    tcp(a, r, SYN, b""),
                    OpensTranslated(HandOver, one_hop_fewer(tcp(a, r, SYN, b""))),
                ),
                row("at the end of its time", FromPod(if_a), last_hop, Known(Pass)),
                row("too large", FromPod(if_a), tcp(a, r, PSH_ACK, &[0; 1500]), Known(Pass)),
                row("to every MAC address", FromPod(if_a), to_many, Known(Pass)),
                row("to another one's MAC address", FromNetdev(up), for_another, Known(Pass)),
                // Whoever is no pod may be behind a masquerade.
                row("to a stranger", FromPod(if_a), tcp(a, s, SYN, b""), Opens(Pass)),
                row("by the node", FromPod(if_a), tcp(a, s, PSH_ACK, b""), Known(Pass)),
                row("but from it", FromNetdev(up), tcp(s, a, PSH_ACK, b""), Known(HandOver)),
            ],
        )?;
        if w.a.is_ipv4() {
            let options = |packet: &[u8]| with_ipv4_options(packet, &[7, 7, 4, 0, 0, 0, 0, 0]);
            let back = tcp(r, a, PSH_ACK, b"y");
            send_all(
                lab,
                vec![
                    row("options", FromPod(if_a), options(&data), Known(Pass)),
                    row("options, the other way", FromNetdev(up), options(&back), Known(Pass)),
                ],
            )?;
        }
        let first = fragment(&udp(a, r, &[0; 32]), Fragment::First, 9);
        send_all(
            lab,
            vec![
                row(
                    "UDP",
                    FromPod(if_a),
                    udp(a, r, b"?"),
                    OpensTranslated(HandOver, one_hop_fewer(udp(a, r, b"?"))),
                ),
                row("a fragment", FromPod(if_a), first, Known(Pass)),
            ],
        )
    });
}

#[test]
fn what_somebody_has_marked_is_left_to_the_rules_that_go_by_marks() {
    in_a_node(|lab, w, o| {
        settle(lab, w, &o)?;
        let (up, if_a) = (lab.uplink, lab.pods[0]);
        let (a, r) = (World::at(w.a, 4000), World::at(w.remote, 8080));
        let (out, back) = (tcp(a, r, PSH_ACK, b"x"), tcp(r, a, PSH_ACK, b"y"));
        let opens = OpensTranslated(HandOver, one_hop_fewer(tcp(a, r, SYN, b"")));
        send_all(lab, vec![row("SYN", FromPod(if_a), tcp(a, r, SYN, b""), opens)])?;
        lab.mark = 7;
        let seen = send_all(
            lab,
            vec![
                row("marked, out", FromPod(if_a), out, Known(Pass)),
                row("marked, in", FromNetdev(up), back.clone(), Known(Pass)),
            ],
        );
        lab.mark = 0;
        seen?;
        send_all(lab, vec![row("not marked", FromNetdev(up), back, Known(HandOver))])
    });
}

#[test]
fn the_way_out_is_the_route_of_the_moment() {
    in_a_node(|lab, w, o| {
        settle(lab, w, &o)?;
        let if_a = lab.pods[0];
        let (a, r) = (World::at(w.a, 4000), World::at(w.remote, 8080));
        let data = || tcp(a, r, PSH_ACK, b"x");
        let out = || Translated(HandOver, one_hop_fewer(data()));
        let route = |words: &str| {
            let family = if w.a.is_ipv4() { "-4" } else { "-6" };
            let words = words.replace("REMOTE", &w.remote.to_string());
            let done = Command::new("ip").arg(family).arg("route").args(words.split(' ')).status();
            assert!(done.is_ok_and(|status| status.success()), "ip route {words}");
        };
        send_all(
            lab,
            vec![row(
                "SYN",
                FromPod(if_a),
                tcp(a, r, SYN, b""),
                OpensTranslated(HandOver, one_hop_fewer(tcp(a, r, SYN, b""))),
            )],
        )?;
        // Not by an uplink, and nowhere.
        for way in ["replace REMOTE dev up1", "replace blackhole REMOTE"] {
            route(way);
            await_tick(lab);
            let seen = send_all(lab, vec![row(way, FromPod(if_a), data(), Known(Pass))]);
            route("del REMOTE");
            await_tick(lab);
            seen?;
            send_all(lab, vec![row("by the route again", FromPod(if_a), data(), out())])?;
        }
        Ok(())
    });
}

#[test]
fn answers_of_a_services_backend_come_in_under_the_services_address() {
    in_a_node(|lab, w, o| {
        settle(lab, w, &o)?;
        let (up, if_a) = (lab.uplink, lab.pods[0]);
        let (a, vip, r) = (World::at(w.a, 4000), World::at(w.service, 80), World::at(w.remote, 8080));
        let (svc, base) = (if w.a.is_ipv4() { 1 } else { 2 }, 40);
        lab.write([
            Op::WriteBackends { base, backends: vec![Backend { addr: w.remote, port: 8080 }].into() },
            Op::PutService(svc, ServiceRow::new(base, 0, 1).expect("in range")),
        ])?;
        send_all(
            lab,
            vec![
                row(
                    "SYN",
                    FromPod(if_a),
                    tcp(a, vip, SYN, b""),
                    OpensTranslated(HandOver, one_hop_fewer(tcp(a, r, SYN, b""))),
                ),
                row(
                    "SYN ACK",
                    FromNetdev(up),
                    tcp(r, a, SYN_ACK, b""),
                    Translated(HandOver, tcp(vip, a, SYN_ACK, b"")),
                ),
                row(
                    "data",
                    FromPod(if_a),
                    tcp(a, vip, PSH_ACK, b"odd"),
                    Translated(HandOver, one_hop_fewer(tcp(a, r, PSH_ACK, b"odd"))),
                ),
                row(
                    "answer",
                    FromNetdev(up),
                    tcp(r, a, PSH_ACK, b"?"),
                    Translated(HandOver, tcp(vip, a, PSH_ACK, b"?")),
                ),
                row("from the Service's address", FromNetdev(up), tcp(vip, a, PSH_ACK, b""), Known(Pass)),
            ],
        )
    });
}
