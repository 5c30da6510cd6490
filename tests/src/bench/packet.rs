use std::net::IpAddr;

use anyhow::{Result, bail};
use netpol_agent::dataplane::{Op, kernel::ConnectionKey};
use netpol_common::{
    conntrack::{CtEntry, CtKey4, CtKey6, Judged, Tuple, flags},
    endpoint::{self, EndpointRow},
    net::{Address, Be16, V4, V6, proto},
    policy::SlotId,
};

use super::Series;
use crate::packet::{Hook, Lab, PSH_ACK, RST, SYN, Verdict, World, in_lab, open, slot_for_pods, tcp};

/// One thing to time.
struct Case {
    name: &'static str,
    hook: Hook,
    packet: Vec<u8>,
    verdict: Verdict,
    repeat: u32,
}

/// Nanoseconds per packet by `BPF_PROG_TEST_RUN`, in interleaved rounds.
///
/// # Errors
/// If the programs do not load, or a packet gets another verdict than it should.
pub fn packets(quick: bool) -> Result<Vec<Series>> {
    let (rounds, repeat) = if quick { (5, 50_000) } else { (21, 200_000) };
    in_lab(3, |lab| {
        let (v4, v6) = (World::new(4), World::new(6));
        v4.settle(lab)?;
        v6.settle(lab)?;
        let mut cases = established(lab, "packet.established.v4", v4, repeat)?;
        cases.extend(established(lab, "packet.established.v6", v6, repeat)?);
        cases.push(service(lab, "packet.established_service.v4", v4, repeat)?);
        cases.push(service(lab, "packet.established_service.v6", v6, repeat)?);
        cases.extend(new_connections(lab, v4, repeat)?);
        let mut empty = Series::new("packet.empty", "ns");
        let mut series: Vec<Series> = cases.iter().map(|case| Series::new(case.name, "ns")).collect();
        let probe = tcp(World::at(v4.a, 1), World::at(v4.b, 2), PSH_ACK, b"x");
        for _ in 0..rounds {
            empty.rounds.push(lab.time_empty(&probe, repeat)?);
            for (case, series) in cases.iter().zip(&mut series) {
                lab.drain();
                series.rounds.push(lab.time(case.hook, &case.packet, case.repeat, case.verdict)?);
            }
        }
        let above: Vec<Series> =
            series.iter().map(|series| series.less(&empty, format!("{}_minus_empty", series.name))).collect();
        Ok([vec![empty], series, above].concat())
    })
}

fn established(lab: &mut Lab, name: &'static str, w: World, repeat: u32) -> Result<Vec<Case>> {
    let (a, b) = (World::at(w.a, 40_000), World::at(w.b, 8080));
    let hook = Hook::FromPod(lab.pods[0]);
    lab.send(hook, &tcp(a, b, SYN, b""))?;
    Ok(vec![Case { name, hook, packet: tcp(a, b, PSH_ACK, b"x"), verdict: Verdict::HandOver, repeat }])
}

/// The same buffer passes the program again and again, so that a translated packet must translate into one that is
/// translated back: two front entries that name each other.
fn service(lab: &mut Lab, name: &'static str, w: World, repeat: u32) -> Result<Case> {
    let (a, there, back) = (World::at(w.a, 41_000), World::at(w.service, 80), World::at(w.b, 8080));
    for (from, to) in [(there, back), (back, there)] {
        let (key, from_high, words) = match (a.ip(), from.ip(), to.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst), IpAddr::V4(nat)) => {
                let tuple = tuple::<V4>(src.into(), dst.into(), a.port(), from.port());
                (ConnectionKey::V4(CtKey4::of(&tuple)), tuple.from_high(), V4::from(nat).to_words())
            }
            (IpAddr::V6(src), IpAddr::V6(dst), IpAddr::V6(nat)) => {
                let tuple = tuple::<V6>(src.into(), dst.into(), a.port(), from.port());
                (ConnectionKey::V6(CtKey6::of(&tuple)), tuple.from_high(), V6::from(nat).to_words())
            }
            _ => bail!("a world of two families"),
        };
        let entry = CtEntry {
            judged: Judged::allowed(lab.maps.epoch()),
            if_orig: lab.pods[0],
            if_reply: lab.pods[1],
            flags: flags::FRONT | if from_high { flags::FROM_HIGH } else { 0 },
            nat_addr: words,
            nat_port: Be16::from_host(to.port()),
            ..CtEntry::default()
        };
        lab.connections.put(key, entry)?;
    }
    let packet = tcp(a, there, PSH_ACK, b"x");
    Ok(Case { name, hook: Hook::FromPod(lab.pods[0]), packet, verdict: Verdict::HandOver, repeat })
}

fn tuple<A: Address>(src: A, dst: A, sport: u16, dport: u16) -> Tuple<A> {
    Tuple { src, dst, sport: Be16::from_host(sport), dport: Be16::from_host(dport), proto: proto::TCP }
}

/// Both ends isolated, so that both are asked. A SYN that is a RST as well ends the connection that it opens: each run
/// judges a new one and inserts its entry in place of the one before.
fn new_connections(lab: &mut Lab, w: World, repeat: u32) -> Result<Vec<Case>> {
    let slot = SlotId(0xbe);
    lab.write(slot_for_pods(slot))?;
    let both = endpoint::flags::ISOLATED_IN | endpoint::flags::ISOLATED_OUT;
    let row = EndpointRow { slot_in: slot, slot_out: slot, flags: open().flags | both, ..open() };
    let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
    lab.write([Op::PutEndpoint(if_a, row), Op::PutEndpoint(if_b, row)])?;
    let a = World::at(w.a, 42_000);
    let hook = Hook::FromPod(if_a);
    let case = |name, port, verdict, repeat| Case {
        name,
        hook,
        packet: tcp(a, World::at(w.b, port), SYN | RST, b""),
        verdict,
        repeat,
    };
    // Few enough drops for all their events to find room.
    let denied = (netpol_common::limits::DROP_RING / 128 / 2).min(repeat);
    Ok(vec![
        case("packet.new_allowed.v4", 8080, Verdict::HandOver, repeat),
        case("packet.new_denied.v4", 81, Verdict::Drop, denied),
    ])
}
