//! What a packet costs the more Services, policies and peers there are, beside the lookups alone.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use netpol_agent::dataplane::{
    Op,
    kernel::{Object, Sizes},
};
use netpol_common::endpoint::{EndpointRow, flags};

use super::{
    Report, Series,
    packet::{self, mean},
    report::Pair,
    tables::{ENDPOINTS, PORT, Tables},
};
use crate::{
    bed::Netns,
    packet::{Hook, Lab, PSH_ACK, SYN, Verdict, World, lab_of, open, tcp},
};

/// Connections that are opened in a round, each to another Service or peer where there are so many.
const OPENINGS: u32 = 100;
/// Kinds of packets, by what they are called.
const LOADS: [&str; 5] =
    ["established", "established_service", "new_same_service", "new_service", "new_judged"];
const SAME_SERVICE: usize = 2;
const SERVICE: usize = 3;
const JUDGED: usize = 4;
/// Of these two the lookups are also timed alone, in other rows of the same tables.
const ALONE: [usize; 2] = [SERVICE, JUDGED];
/// From a packet's rows to those that are looked up alone.
const APART: u32 = 31_337;

/// Nanoseconds per packet with one Service, one policy and ten peers, and with more of one or of all; all of them in turns. Compares
/// each with the first, as it is and without what the lookups alone take more.
///
/// # Errors
/// If the programs do not load, or a packet gets another verdict than it should.
pub fn size(quick: bool, report: &mut Report) -> Result<()> {
    let (rounds, repeat) = if quick { (3_u32, 20_000) } else { (63, 200_000) };
    let mut sites: Vec<_> = sizes(quick)
        .into_iter()
        .map(|(name, tables)| Site::build(name, tables, quick))
        .collect::<Result<_>>()?;
    for round in 0..rounds {
        // Whoever comes after large tables finds the caches full of them: nobody always does.
        let mut order: Vec<&mut Site> = sites.iter_mut().collect();
        fastrand::Rng::with_seed(round.into()).shuffle(&mut order);
        for site in order {
            site.measure(round, repeat).with_context(|| site.name.clone())?;
        }
    }
    for site in &sites {
        site.loads.iter().chain(&site.alone).for_each(|series| report.add(series));
    }
    compare(&sites, report);
    Ok(())
}

/// Each with the first. The second is the same as the first.
fn compare(sites: &[Site], report: &mut Report) {
    let Some(least) = sites.first() else { return };
    for (load, name) in LOADS.iter().enumerate() {
        let costs = sites.iter().map(|site| site.loads[load].clone());
        over_least(name, sites, &costs.collect::<Vec<_>>(), &least.loads[load], report);
    }
    for (alone, load) in ALONE.into_iter().enumerate() {
        let costs = sites.iter().map(|site| {
            let more = site.alone[alone].less(&least.alone[alone], "");
            site.loads[load].less(&more, "")
        });
        let name = format!("{}_apart", LOADS[load]);
        over_least(&name, sites, &costs.collect::<Vec<_>>(), &least.loads[load], report);
    }
}

/// `costs` by site.
fn over_least(name: &str, sites: &[Site], costs: &[Series], least: &Series, report: &mut Report) {
    let mut pairs = sites.iter().zip(costs).skip(1).map(|(site, cost)| Pair {
        name: format!("size.{name}.{}_over_least", site.name),
        over: cost,
        under: least,
    });
    if let Some(again) = pairs.next() {
        report.compare(&again, pairs);
    }
}

fn sizes(quick: bool) -> Vec<(String, Tables)> {
    let [some, services, policies, peers] =
        if quick { [100, 1_000, 500, 1_000] } else { [1_000, 100_000, 5_000, 100_000] };
    let least = Tables { services: 1, policies: 1, peers: ENDPOINTS };
    vec![
        ("least".to_owned(), least),
        ("least_again".to_owned(), least),
        (format!("{some}_services"), Tables { services: some, ..least }),
        (format!("{services}_services"), Tables { services, ..least }),
        (format!("{policies}_policies"), Tables { policies, ..least }),
        (format!("{peers}_peers"), Tables { peers, ..least }),
        ("all".to_owned(), Tables { services, policies, peers }),
    ]
}

/// Programs of their own over tables of one size.
struct Site {
    name: String,
    tables: Tables,
    netns: Netns,
    lab: Lab,
    /// By [`LOADS`], without what timing itself takes.
    loads: Vec<Series>,
    /// By [`ALONE`].
    alone: Vec<Series>,
}

impl Site {
    fn build(name: String, tables: Tables, quick: bool) -> Result<Self> {
        let sizes =
            if quick { Sizes::small() } else { Sizes { ct: 65_536, backends: 1 << 20, services: 131_072 } };
        let world = World::new(4);
        let (netns, mut lab) = lab_of(2, sizes, Object::load_look_up_program)?;
        netns.enter(|| {
            world.settle(&mut lab)?;
            tables.fill(&mut lab)?;
            for n in [0, tables.services / 2, tables.services - 1] {
                ensure_translated(&mut lab, tables, n)?;
            }
            Ok(())
        })?;
        let series = |load: &str| Series::new(format!("size.{load}.{name}"), "ns");
        let loads = LOADS.map(series).to_vec();
        let alone = ALONE.map(|load| series(&format!("lookups_of_{}", LOADS[load]))).to_vec();
        Ok(Self { name, tables, netns, lab, loads, alone })
    }

    fn measure(&mut self, round: u32, repeat: u32) -> Result<()> {
        let Self { name: _, tables, netns, lab, loads, alone } = self;
        let tables = *tables;
        netns.enter(|| {
            lab.drain();
            let world = World::new(4);
            let client = world.a;
            // Each round anew: the epochs of the one before would have them judged again.
            let passing = [
                packet::established(lab, "established", world, 1)?,
                packet::service(lab, "established_service", world, 1)?,
            ];
            let probe = tcp(World::at(client, 1), World::at(client, 2), PSH_ACK, b"x");
            let empty = lab.time_empty(&probe, repeat)?;
            let empty_once = mean((0..OPENINGS).map(|_| lab.time_empty(&probe, 1)))?;
            for (case, series) in passing.iter().zip(&mut *loads) {
                series.rounds.push(case.time(lab, repeat)? - empty);
            }
            for load in [SAME_SERVICE, SERVICE, JUDGED] {
                let times = numbers(round).map(|n| opening(lab, tables, load, n));
                loads[load].rounds.push(mean(times).context(LOADS[load])? - empty_once);
            }
            for (load, series) in ALONE.into_iter().zip(alone) {
                let times = numbers(round).map(|n| {
                    let n = n + APART;
                    let question = match load {
                        SERVICE => tables.ask_service(spread(n, tables.services), n),
                        _ => tables.ask_policy(spread(n, tables.policies), spread(n, tables.peers)),
                    };
                    lab.time_look_up(&question, 1)
                });
                series.rounds.push(mean(times)? - empty_once);
            }
            Ok(())
        })
    }
}

fn numbers(round: u32) -> impl ExactSizeIterator<Item = u32> {
    (0..OPENINGS as usize).map(move |n| round * OPENINGS + n as u32)
}

/// One of so many, near to none of those before.
fn spread(n: u32, of: u32) -> u32 {
    (u64::from(n) * 7_919 % u64::from(of)) as u32
}

/// The time of the first packet of connection `n`, whose client's port no other one has.
fn opening(lab: &mut Lab, tables: Tables, load: usize, n: u32) -> Result<f64> {
    let client = lab.pods[0];
    let to = match load {
        SAME_SERVICE => tables.service(tables.services / 2),
        SERVICE => tables.service(spread(n, tables.services)),
        _ => World::at(tables.peer(spread(n, tables.peers)).into(), PORT),
    };
    let isolated = EndpointRow {
        slot_out: tables.slot(spread(n, tables.policies)),
        flags: open().flags | flags::ISOLATED_OUT,
        ..open()
    };
    // With the epoch that goes with it, so that nothing is remembered of the connections before: the tables are what is measured.
    lab.write([Op::PutEndpoint(client, if load == JUDGED { isolated } else { open() }), Op::AdvanceEpoch])?;
    let port = 10_000 * load as u32 + n;
    let from = World::at(World::new(4).a, u16::try_from(port).context("no port is left")?);
    lab.time(Hook::FromPod(client), &tcp(from, to, SYN, b""), 1, Verdict::Pass)
}

/// A packet to a Service becomes one to a backend of it: without that all of this would measure something else.
fn ensure_translated(lab: &mut Lab, tables: Tables, n: u32) -> Result<()> {
    let from = World::at(World::new(4).a, 9_000 + (n % 1_000) as u16);
    let seen = lab.send(Hook::FromPod(lab.pods[0]), &tcp(from, tables.service(n), SYN, b""))?;
    let to = seen
        .packet
        .get(30..34)
        .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
        .context("a short packet")?;
    let to = Ipv4Addr::from(to);
    let among = (0..ENDPOINTS).any(|k| tables.backend(n, k) == to);
    ensure!(
        among && seen.verdict == Verdict::Pass,
        "Service {n}: sent to {}, {:?}",
        IpAddr::V4(to),
        seen.verdict
    );
    Ok(())
}
