//! Frames from outside, before the kernel has a buffer for them: what XDP costs, and what TC does without it.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::dataplane::kernel::{ConnectionKey, Switch};
use netpol_common::{
    config::flags::FAST_PATH,
    conntrack::{CtEntry, CtKey4, Judged, Tuple, flags},
    net::{Address, Be16, V4, proto},
    wire::{self, WireRow},
};

use super::{Series, packet::mean};
use crate::packet::{
    Lab, PSH_ACK, Place,
    Uplink::{FromNetdev, FromWire},
    Verdict::{self, HandOver, Pass},
    World, tcp,
};

/// MAC address of frames' receivers, of the uplink, and of the router behind it: what was sent on can come in again.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT: [u8; 4] = [203, 0, 113, 9];
/// Beyond the router, as all that is sent on must be.
const VIP: [u8; 4] = [203, 0, 113, 1];
const NODE: [u8; 4] = [172, 18, 0, 1];
const BACKEND: [u8; 4] = [10, 244, 2, 7];
/// Each time it is sent on, a packet loses one of its hops.
const HOPS: u8 = 255;
const IPV4_HOPS: usize = 14 + 8;

struct Case {
    name: &'static str,
    at: Place,
    frame: Vec<u8>,
    verdict: Verdict,
}

/// No packet has more hops to lose.
const REPEAT: u32 = HOPS as u32 - 5;

/// Nanoseconds per frame, and how much more than a frame of another protocol takes, which XDP lets pass at once.
pub(super) fn frames(lab: &mut Lab, rounds: usize, runs: usize) -> Result<Vec<Series>> {
    let cases = cases(lab)?;
    let mut series = cases.each_ref().map(|case| Series::new(case.name, "ns"));
    for _ in 0..rounds {
        for (case, series) in cases.iter().zip(&mut series) {
            let times = (0..runs).map(|_| lab.time(case.at, &case.frame, REPEAT, case.verdict));
            series.rounds.push(mean(times).context(case.name)?);
        }
    }
    let above: Vec<_> = series[1..4]
        .iter()
        .map(|one| one.less(&series[0], format!("{}_minus_other_protocol", one.name)))
        .collect();
    Ok([series.to_vec(), above].concat())
}

/// As `packet::hold`.
pub(super) fn hold(lab: &mut Lab, name: &str, until: Instant) -> Result<()> {
    let cases = cases(lab)?;
    let case = cases.iter().find(|case| case.name == name);
    let case = case.with_context(|| format!("there is no packet {name}"))?;
    while Instant::now() < until {
        lab.time(case.at, &case.frame, REPEAT, case.verdict)?;
    }
    Ok(())
}

/// Every frame, with what it needs in the tables.
fn cases(lab: &mut Lab) -> Result<[Case; 5]> {
    configure()?;
    lab.maps.set_flags(FAST_PATH, Switch::On);
    let row = WireRow { mode: wire::NATIVE, mac: MAC, marks: wire::CARRIES_MARKS };
    lab.xdp.put_row(lab.uplink, row)?;
    let at = |addr: [u8; 4], port| World::at(addr.into(), port);
    let (client, vip, node, backend) = (at(CLIENT, 4000), at(VIP, 80), at(NODE, 61_000), at(BACKEND, 8080));
    let pod = SocketAddr::new(World::new(4).b, 8080);
    // Each translation is undone by the next one: the same buffer passes the program again and again.
    for (from, to, source, target) in [(client, vip, node, backend), (node, backend, client, vip)] {
        enter(lab, (from, to), (source, target), flags::SNAT, 0)?;
    }
    let here = at(VIP, 81);
    for (to, target) in [(here, pod), (pod, here)] {
        enter(lab, (client, to), (client, target), 0, lab.pods[1])?;
    }
    let wire = FromWire(lab.uplink).into();
    let ping = |from, to| {
        let mut frame = tcp(from, to, PSH_ACK, b"x");
        let [high, low] = [IPV4_HOPS + 2, IPV4_HOPS + 3];
        let sum = u16::from_be_bytes([frame[high], frame[low]]);
        // RFC 1624, for the word that holds the hops.
        let more = u32::from(!sum) + u32::from(HOPS - frame[IPV4_HOPS]) * 0x100;
        let folded = (more & 0xffff) + (more >> 16);
        frame[high..=low].copy_from_slice(&(!(folded as u16)).to_be_bytes());
        frame[IPV4_HOPS] = HOPS;
        frame
    };
    let mut other = ping(client, vip);
    other[12..14].copy_from_slice(&[0x88, 0xcc]);
    Ok([
        Case { name: "packet.wire.other_protocol", at: wire, frame: other, verdict: Pass },
        Case { name: "packet.wire.of_nobody", at: wire, frame: ping(client, at(VIP, 9)), verdict: Pass },
        Case { name: "packet.wire.sent_on", at: wire, frame: ping(client, vip), verdict: HandOver },
        Case { name: "packet.wire.handed_in", at: wire, frame: ping(client, here), verdict: Pass },
        Case {
            name: "packet.netdev.handed_over",
            at: FromNetdev(lab.uplink).into(),
            frame: ping(client, here),
            verdict: HandOver,
        },
    ])
}

/// A front entry of `(from, to)` that makes `(source, target)` of it.
fn enter(
    lab: &mut Lab,
    (from, to): (SocketAddr, SocketAddr),
    (source, target): (SocketAddr, SocketAddr),
    plain: u32,
    receiver: u32,
) -> Result<()> {
    let tuple = Tuple::<V4> {
        src: v4(from)?,
        sport: Be16::from_host(from.port()),
        dst: v4(to)?,
        dport: Be16::from_host(to.port()),
        proto: proto::TCP,
    };
    let entry = CtEntry {
        judged: Judged::allowed(lab.maps.epoch()),
        if_reply: receiver,
        flags: flags::OUTSIDE | flags::FRONT | plain | tuple.order(),
        nat_addr: v4(target)?.to_words(),
        nat_port: Be16::from_host(target.port()),
        nat_saddr: v4(source)?.to_words(),
        nat_sport: Be16::from_host(source.port()),
        ..CtEntry::default()
    };
    lab.connections.put(ConnectionKey::V4(CtKey4::of(&tuple)), entry).map_err(Into::into)
}

fn v4(end: SocketAddr) -> Result<V4> {
    match end.ip() {
        IpAddr::V4(addr) => Ok(addr.into()),
        IpAddr::V6(addr) => bail!("{addr}: IPv4 only"),
    }
}

/// The lab's network namespace, which is the current one, has a way out.
fn configure() -> Result<()> {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
    for line in [
        format!("link set up0 address {mac} up"),
        "link set up1 up".to_owned(),
        "addr replace 172.18.0.1/24 dev up0".to_owned(),
        format!("neigh replace 172.18.0.254 lladdr {mac} dev up0 nud permanent"),
        "route replace default via 172.18.0.254".to_owned(),
    ] {
        let output = Command::new("ip").args(line.split(' ')).output().context("ip (package iproute2)")?;
        ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
