//! Judgements that are remembered for connections like the one that they were made for.

use ipnet::IpNet;
use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::{Egress, Ingress},
    endpoint::{EndpointRow, flags},
    event::PacketEvent,
    policy::SlotId,
    reason::DropReason::{NoService, Pending, Policy, Spoofed},
};
use netpol_tests::packet::{
    Hook::{FromPod, ToPod},
    SYN,
    Verdict::{Drop as Dropped, HandOver, Pass},
    World, open, slot_for_pods, tcp, udp,
};

use crate::table::{
    Expect::{Drop, Opens, OpensTranslated},
    in_both_families, row, send_all,
};

const SLOT: SlotId = SlotId(5);

fn isolated(slot_in: SlotId) -> EndpointRow {
    EndpointRow { slot_in, flags: open().flags | flags::ISOLATED_IN, ..open() }
}

#[test]
fn a_judgement_holds_for_connections_like_its_own_in_its_epoch() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let mut ports = 1..;
        let mut syn = || tcp(World::at(w.a, ports.next().unwrap_or(0)), World::at(w.b, 80), SYN, b"");
        let mut remembered = [false; 2];
        // Rows that come without a change that has begun: no agent writes them so. The next packet may be another CPU's, which judges anew.
        for _ in 0..50 {
            for (seen, before, after) in [(0, open(), isolated(SLOT)), (1, isolated(SLOT), open())] {
                let expect = |row: EndpointRow| {
                    if row == open() { Opens(HandOver) } else { Drop(Policy, Ingress) }
                };
                lab.write([Op::PutEndpoint(if_b, before), Op::AdvanceEpoch])?;
                send_all(lab, vec![row("before", FromPod(if_a), syn(), expect(before))])?;
                lab.write([Op::PutEndpoint(if_b, after)])?;
                let between = lab.send(FromPod(if_a), &syn())?.verdict;
                remembered[seen] |= between == if before == open() { HandOver } else { Dropped };
                lab.write([Op::AdvanceEpoch])?;
                send_all(lab, vec![row("after", FromPod(if_a), syn(), expect(after))])?;
            }
            if remembered == [true; 2] {
                return Ok(());
            }
        }
        anyhow::bail!("remembered while allowed, while denied: {remembered:?}")
    });
}

#[test]
fn nothing_is_remembered_while_a_change_is_under_way() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let syn = |port| tcp(World::at(w.a, port), World::at(w.b, 80), SYN, b"");
        let denied = || Drop(Policy, Ingress);
        send_all(lab, vec![row("open", FromPod(if_a), syn(1), Opens(HandOver))])?;
        lab.write([Op::BeginChange])?;
        send_all(lab, vec![row("still", FromPod(if_a), syn(2), Opens(HandOver))])?;
        lab.write([Op::PutEndpoint(if_b, isolated(SLOT))])?;
        send_all(lab, vec![row("at once", FromPod(if_a), syn(3), denied())])?;
        lab.write([Op::PutEndpoint(if_b, open())])?;
        send_all(lab, vec![row("and back", FromPod(if_a), syn(4), Opens(HandOver))])?;
        lab.write([Op::PutEndpoint(if_b, isolated(SLOT)), Op::AdvanceEpoch])?;
        send_all(lab, vec![row("to the end", FromPod(if_a), syn(5), denied())])
    });
}

#[test]
fn a_judgement_is_nobody_elses() {
    in_both_families(|lab, w| {
        let (if_a, if_b, up) = (lab.pods[0], lab.pods[1], lab.uplink);
        lab.write(slot_for_pods(SLOT))?;
        lab.write([Op::PutEndpoint(if_b, isolated(SLOT)), Op::AdvanceEpoch])?;
        let (a, b) = (|port| World::at(w.a, port), |port| World::at(w.b, port));
        let (remote, stranger) = (|port| World::at(w.remote, port), |port| World::at(w.stranger, port));
        let denied = || Drop(Policy, Ingress);
        send_all(
            lab,
            vec![
                row("allowed", FromPod(if_a), tcp(a(1), b(8080), SYN, b""), Opens(HandOver)),
                row("like it", FromPod(if_a), tcp(a(2), b(8080), SYN, b""), Opens(HandOver)),
                row("another port", FromPod(if_a), tcp(a(3), b(8081), SYN, b""), denied()),
                row("like that", FromPod(if_a), tcp(a(4), b(8081), SYN, b""), denied()),
                row("another protocol", FromPod(if_a), udp(a(5), b(8080), b""), denied()),
                row("allowed still", FromPod(if_a), tcp(a(6), b(8080), SYN, b""), Opens(HandOver)),
                row("a to another node", FromPod(if_a), tcp(a(7), remote(80), SYN, b""), Opens(Pass)),
                row("b as a", FromPod(if_b), tcp(a(8), remote(80), SYN, b""), Drop(Spoofed, Egress)),
                row("from another node", ToPod(if_b, up), tcp(remote(1), b(8080), SYN, b""), Opens(Pass)),
                row("a stranger", ToPod(if_b, up), tcp(stranger(1), b(8080), SYN, b""), denied()),
                row("the wire as a", ToPod(if_b, up), tcp(a(9), b(8080), SYN, b""), Drop(Spoofed, Ingress)),
                row("a by the node", ToPod(if_b, if_a), tcp(a(10), b(8080), SYN, b""), Opens(Pass)),
                row("the node", ToPod(if_b, 0), tcp(stranger(2), b(8080), SYN, b""), Opens(Pass)),
                row("a stranger still", ToPod(if_b, up), tcp(stranger(3), b(8080), SYN, b""), denied()),
                row(
                    "through the Service",
                    FromPod(if_a),
                    tcp(a(11), World::at(w.service, 80), SYN, b""),
                    OpensTranslated(HandOver, tcp(a(11), b(8080), SYN, b"")),
                ),
            ],
        )
    });
}

#[test]
fn what_no_epoch_tells_of_is_asked_each_time() {
    in_both_families(|lab, w| {
        let (if_a, if_b, up) = (lab.pods[0], lab.pods[1], lab.uplink);
        let stranger = |port| World::at(w.stranger, port);
        let sent = |port| udp(World::at(w.a, port), stranger(80), b"");
        let come = |port| udp(stranger(port), World::at(w.b, 80), b"");
        send_all(
            lab,
            vec![
                row("to nobody", FromPod(if_a), sent(1), Opens(Pass)),
                row("from outside", ToPod(if_b, up), come(1), Opens(Pass)),
            ],
        )?;
        let whole = if w.a.is_ipv4() { 32 } else { 128 };
        lab.write([Op::PutServiceNet(IpNet::new(w.stranger, whole)?)])?;
        send_all(lab, vec![row("where Services are now", FromPod(if_a), sent(2), Drop(NoService, Egress))])?;
        lab.no_pods.set(up, false)?;
        let unknown = row("by what may be a pod's", ToPod(if_b, up), come(2), Drop(Pending, Ingress));
        let sent = send_all(lab, vec![unknown]);
        lab.no_pods.set(up, true)?;
        sent
    });
}

#[test]
fn a_remembered_denial_says_why() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        lab.write([Op::PutEndpoint(if_b, isolated(SLOT)), Op::AdvanceEpoch])?;
        let mut told = |port| {
            let events =
                lab.send(FromPod(if_a), &tcp(World::at(w.a, port), World::at(w.b, 80), SYN, b""))?.events;
            anyhow::ensure!(events.len() == 1 && events[0].slot == SLOT, "{events:?}");
            Ok(PacketEvent { sport: 0, nat_sport: 0, jiffies: 0, ..events[0] })
        };
        anyhow::ensure!(told(1)? == told(2)?);
        Ok(())
    });
}

#[test]
fn a_remembered_judgement_of_policies_on_trial_is_told_of() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        let row = isolated(SLOT);
        let trial = EndpointRow { flags: row.flags | flags::AUDIT_IN, ..row };
        lab.write([Op::PutEndpoint(if_b, trial), Op::AdvanceEpoch])?;
        for port in [1, 2] {
            let seen = lab.send(FromPod(if_a), &tcp(World::at(w.a, port), World::at(w.b, 80), SYN, b""))?;
            let [event] = &seen.events[..] else { anyhow::bail!("{:?}", seen.events) };
            let said = (seen.verdict, event.audit, event.slot, event.endpoint);
            anyhow::ensure!(said == (HandOver, 1, SLOT, if_b), "{said:?}");
        }
        Ok(())
    });
}
