//! A thousand changes of pods a second.

use std::{
    net::Ipv4Addr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netpol_agent::model::ObjectRef;
use netpol_common::lookup::{Question, tables};
use serde_json::{Value, json};

use super::{
    Series,
    crowd::{self, Crowd},
    sight::Sight,
    work::processor_time,
};
use crate::apiserver::ApiServer;

/// From one change to the next.
const PACE: Duration = Duration::from_millis(1);
const SECOND: usize = 1_000;
/// Changes of ten kinds follow each other.
const KINDS: usize = 10;
/// These pods are given another address again and again, and no other change is theirs.
const MARKED: usize = 400;
const NEW_ADDRESSES: Ipv4Addr = Ipv4Addr::new(10, 112, 0, 0);
/// Between two looks for an address.
const LOOK: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(20);

/// A pod's new address, and when the server was told of it.
type Mark = (Instant, Ipv4Addr);

/// Milliseconds from a pod's new address to its row, and how much of a core the agent takes in each second.
pub(super) fn storm(
    sight: &Sight,
    server: &ApiServer,
    agent: u32,
    crowd: Crowd,
    length: Duration,
) -> Result<[Series; 2]> {
    let mut lag = Series::new("event.storm.lag", "ms");
    let (sender, marks) = mpsc::channel();
    let changes = length.as_secs() as usize * SECOND;
    let core = thread::scope(|scope| {
        let storm = scope.spawn(move || blow(server, agent, crowd, changes, &sender));
        for (since, address) in marks {
            let question = Question { addr: address.into(), tables: tables::PEER, ..Question::default() };
            while sight.look_up(&question)?.is_none() {
                ensure!(since.elapsed() < PATIENCE, "{address} does not come into force");
                thread::sleep(LOOK);
            }
            lag.rounds.push(since.elapsed().as_secs_f64() * 1e3);
        }
        storm.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok([lag, core])
}

/// Changes pods, never faster than one in [`PACE`]; how much of a core the agent took in each second of it.
fn blow(
    server: &ApiServer,
    agent: u32,
    crowd: Crowd,
    changes: usize,
    marks: &mpsc::Sender<Mark>,
) -> Result<Series> {
    let mut core = Series::new("event.storm.core", "%");
    let begin = Instant::now();
    let (mut since, mut worked) = (begin, processor_time(agent)?);
    for n in 0..changes {
        let due = begin + PACE * u32::try_from(n)?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        change(server, crowd, n, marks)?;
        if n % SECOND == SECOND - 1 {
            let (now, work) = (Instant::now(), processor_time(agent)?);
            let share = work.saturating_sub(worked).as_secs_f64() / (now - since).as_secs_f64();
            core.rounds.push(share * 100.0);
            (since, worked) = (now, work);
        }
    }
    let took = begin.elapsed();
    let rate = changes as f64 / took.as_secs_f64();
    ensure!(rate > 0.9 * SECOND as f64, "only {rate:.0} changes a second could be made");
    Ok(core)
}

fn change(server: &ApiServer, crowd: Crowd, n: usize, marks: &mpsc::Sender<Mark>) -> Result<()> {
    let (kind, turn) = (n % KINDS, n / KINDS);
    // Those of one turn are one pod's, but for the marked one.
    let other = MARKED + turn * 7_919 % (crowd.pods - MARKED);
    match kind {
        0 => {
            let address = Ipv4Addr::from_bits(NEW_ADDRESSES.to_bits() + u32::try_from(turn)? + 1);
            let mut pod = crowd::pod(turn % MARKED);
            pod["status"]["podIP"] = json!(address);
            pod["status"]["podIPs"] = json!([{"ip": address}]);
            server.put(pod)?;
            // The server has it: from now on the agent can know.
            marks.send((Instant::now(), address)).context("nobody looks for marks any more")
        }
        1 => {
            server.put(with_label(crowd::pod(other), "app.kubernetes.io/name", &format!("app-{}", turn % 10)))
        }
        2 => server.delete(&ObjectRef {
            kind: "Pod".to_owned(),
            namespace: crowd::name(other),
            name: crowd::pod_name(other),
        }),
        _ => server.put(with_label(crowd::pod(other), "revision", &n.to_string())),
    }
}

fn with_label(mut pod: Value, key: &str, value: &str) -> Value {
    pod["metadata"]["labels"][key] = json!(value);
    pod
}
