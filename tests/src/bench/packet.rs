use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use netpol_agent::dataplane::{
    Op,
    kernel::{ConnectionKey, Switch},
};
use netpol_common::{
    config,
    conntrack::{CtEntry, CtKey4, CtKey6, Judged, Tuple, flags},
    endpoint::{self, EndpointRow},
    net::{Address, Be16, V4, V6, proto},
    policy::SlotId,
};

use super::{Series, wire};
use crate::packet::{Hook, Lab, PSH_ACK, SYN, Verdict, World, in_lab, open, slot_for_pods, tcp};

/// One thing to time.
pub(super) struct Case {
    name: &'static str,
    hook: Hook,
    /// The packet with this number.
    packet: Box<dyn Fn(u16) -> Vec<u8> + Send + Sync>,
    /// So many different packets in each round.
    packets: u16,
    verdict: Verdict,
    /// How often each of them passes.
    repeat: u32,
    /// Whether somebody follows flows, so that each new connection makes an event.
    followed: Switch,
}

impl Case {
    /// Nanoseconds of the first of its packets, which passes `repeat` times.
    pub(super) fn time(&self, lab: &Lab, repeat: u32) -> Result<f64> {
        lab.time(self.hook, &(self.packet)(0), repeat, self.verdict).context(self.name)
    }
}

/// Connections that are opened in a round: few enough for those of all rounds to stay within the quota of their pod.
const OPENINGS: u16 = 100;
/// The client's port of the first of them.
const FIRST_OPENING: u16 = 10_000;
/// The server's port that is scanned first.
const FIRST_SCANNED: u16 = 20_000;

/// Nanoseconds per packet by `BPF_PROG_TEST_RUN`, in interleaved rounds.
///
/// # Errors
/// If the programs do not load, or a packet gets another verdict than it should.
pub fn packets(quick: bool) -> Result<Vec<Series>> {
    let (rounds, repeat) = if quick { (3_u16, 20_000) } else { (21, 200_000) };
    in_lab(3, |lab| {
        let v4 = World::new(4);
        let cases = settled(lab, repeat)?;
        let mut empty = Series::new("packet.empty", "ns");
        // Timing itself takes time, which counts if a packet passes once.
        let mut empty_once = Series::new("packet.empty_once", "ns");
        let mut series: Vec<Series> = cases.iter().map(|case| Series::new(case.name, "ns")).collect();
        let probe = tcp(World::at(v4.a, 1), World::at(v4.b, 2), PSH_ACK, b"x");
        for round in 0..rounds {
            empty.rounds.push(lab.time_empty(&probe, repeat)?);
            let once = (0..OPENINGS).map(|_| lab.time_empty(&probe, 1));
            empty_once.rounds.push(mean(once)?);
            for (case, series) in cases.iter().zip(&mut series) {
                lab.untold()?;
                lab.drain();
                lab.maps.set_flags(config::flags::FLOW_EVENTS, case.followed);
                let numbers = (0..case.packets).map(|n| round * case.packets + n);
                let times =
                    numbers.map(|n| lab.time(case.hook, &(case.packet)(n), case.repeat, case.verdict));
                series.rounds.push(mean(times).context(case.name)?);
            }
        }
        let above = cases.iter().zip(&series).map(|(case, series)| {
            let nothing = if case.repeat == 1 { &empty_once } else { &empty };
            series.less(nothing, format!("{}_minus_empty", series.name))
        });
        let above: Vec<Series> = above.collect();
        let (rounds, runs) = if quick { (3, 20) } else { (21, 200) };
        let wire = wire::frames(lab, rounds, runs)?;
        Ok([vec![empty, empty_once], series, above, wire].concat())
    })
}

/// How long a packet is held before a profiler.
const HELD: Duration = Duration::from_secs(20);

/// Lets one of the packets pass again and again for 20 seconds and measures nothing, so that a profiler sees little else. What opens
/// connections does so in an empty table each time.
///
/// # Errors
/// As [`packets`], or if there is none of this name.
pub fn hold(name: &str) -> Result<()> {
    in_lab(3, |lab| {
        lab.maps.limit_connections(u32::MAX);
        let cases = settled(lab, 20_000)?;
        let until = Instant::now() + HELD;
        let Some(case) = cases.iter().find(|case| case.name == name) else {
            return wire::hold(lab, name, until);
        };
        lab.maps.set_flags(config::flags::FLOW_EVENTS, case.followed);
        while Instant::now() < until {
            lab.untold()?;
            lab.drain();
            for n in 0..case.packets {
                lab.time(case.hook, &(case.packet)(n), case.repeat, case.verdict)?;
            }
            if case.packets > 1 {
                lab.connections.clear()?;
            }
        }
        Ok(())
    })
}

/// Every packet between pods, with what it needs in the tables.
fn settled(lab: &mut Lab, repeat: u32) -> Result<Vec<Case>> {
    let (v4, v6) = (World::new(4), World::new(6));
    v4.settle(lab)?;
    v6.settle(lab)?;
    let mut cases = vec![established(lab, "packet.established.v4", v4, repeat)?];
    cases.push(established(lab, "packet.established.v6", v6, repeat)?);
    cases.push(service(lab, "packet.established_service.v4", v4, repeat)?);
    cases.push(service(lab, "packet.established_service.v6", v6, repeat)?);
    cases.extend(new_connections(lab, v4, repeat)?);
    Ok(cases)
}

pub(super) fn mean(times: impl ExactSizeIterator<Item = Result<f64>>) -> Result<f64> {
    let count = times.len() as f64;
    Ok(times.sum::<Result<f64>>()? / count)
}

/// One packet that passes again and again.
fn same(packet: Vec<u8>) -> Box<dyn Fn(u16) -> Vec<u8> + Send + Sync> {
    Box::new(move |_| packet.clone())
}

/// A packet of a connection that is there.
pub(super) fn established(lab: &mut Lab, name: &'static str, w: World, repeat: u32) -> Result<Case> {
    let (a, b) = (World::at(w.a, 40_000), World::at(w.b, 8080));
    let hook = Hook::FromPod(lab.pods[0]);
    lab.send(hook, &tcp(a, b, SYN, b""))?;
    let packet = same(tcp(a, b, PSH_ACK, b"x"));
    Ok(Case { name, hook, packet, packets: 1, verdict: Verdict::HandOver, repeat, followed: Switch::Off })
}

/// The same buffer passes the program again and again, so that a translated packet must translate into one that is
/// translated back: two front entries that name each other.
pub(super) fn service(lab: &mut Lab, name: &'static str, w: World, repeat: u32) -> Result<Case> {
    let (a, there, back) = (World::at(w.a, 41_000), World::at(w.service, 80), World::at(w.b, 8080));
    for (from, to) in [(there, back), (back, there)] {
        let (key, order, words) = match (a.ip(), from.ip(), to.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst), IpAddr::V4(nat)) => {
                let tuple = tuple::<V4>(src.into(), dst.into(), a.port(), from.port());
                (ConnectionKey::V4(CtKey4::of(&tuple)), tuple.order(), V4::from(nat).to_words())
            }
            (IpAddr::V6(src), IpAddr::V6(dst), IpAddr::V6(nat)) => {
                let tuple = tuple::<V6>(src.into(), dst.into(), a.port(), from.port());
                (ConnectionKey::V6(CtKey6::of(&tuple)), tuple.order(), V6::from(nat).to_words())
            }
            _ => bail!("a world of two families"),
        };
        let entry = CtEntry {
            judged: Judged::allowed(lab.maps.epoch()),
            if_orig: lab.pods[0],
            if_reply: lab.pods[1],
            flags: flags::FRONT | order,
            nat_addr: words,
            nat_port: Be16::from_host(to.port()),
            ..CtEntry::default()
        };
        lab.connections.put(key, entry)?;
    }
    let (packet, hook) = (same(tcp(a, there, PSH_ACK, b"x")), Hook::FromPod(lab.pods[0]));
    Ok(Case { name, hook, packet, packets: 1, verdict: Verdict::HandOver, repeat, followed: Switch::Off })
}

fn tuple<A: Address>(src: A, dst: A, sport: u16, dport: u16) -> Tuple<A> {
    Tuple { src, dst, sport: Be16::from_host(sport), dport: Be16::from_host(dport), proto: proto::TCP }
}

/// Both ends isolated, so that both are asked. Each packet that opens a connection comes from a port of its own.
fn new_connections(lab: &mut Lab, w: World, repeat: u32) -> Result<Vec<Case>> {
    let slot = SlotId(0xbe);
    lab.write(slot_for_pods(slot))?;
    let both = endpoint::flags::ISOLATED_IN | endpoint::flags::ISOLATED_OUT;
    let row = EndpointRow { slot_in: slot, slot_out: slot, flags: open().flags | both, ..open() };
    let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
    lab.write([Op::PutEndpoint(if_a, row), Op::PutEndpoint(if_b, row)])?;
    let hook = Hook::FromPod(if_a);
    // Few enough drops for all their events to find room.
    let denied = (netpol_common::limits::DROP_RING / 128 / 2).min(repeat);
    let allowed =
        move |first| Box::new(move |n| tcp(World::at(w.a, first + n), World::at(w.b, 8080), SYN, b""));
    let refused = same(tcp(World::at(w.a, 42_000), World::at(w.b, 81), SYN, b""));
    Ok(vec![
        Case {
            name: "packet.new_allowed.v4",
            hook,
            packet: allowed(FIRST_OPENING),
            packets: OPENINGS,
            verdict: Verdict::HandOver,
            repeat: 1,
            followed: Switch::Off,
        },
        Case {
            name: "packet.new_allowed_followed.v4",
            hook,
            packet: allowed(FIRST_OPENING * 2),
            packets: OPENINGS,
            verdict: Verdict::HandOver,
            repeat: 1,
            followed: Switch::On,
        },
        Case {
            name: "packet.new_denied.v4",
            hook,
            packet: refused,
            packets: 1,
            verdict: Verdict::Drop,
            repeat: denied,
            followed: Switch::Off,
        },
        // Each asks what no other one has asked, and makes an event of its own.
        Case {
            name: "packet.scan_denied.v4",
            hook,
            packet: Box::new(move |n| {
                tcp(World::at(w.a, 42_000), World::at(w.b, FIRST_SCANNED + n), SYN, b"")
            }),
            packets: OPENINGS,
            verdict: Verdict::Drop,
            repeat: 1,
            followed: Switch::Off,
        },
    ])
}
