//! From the rename of a manifest into the folder to the packets that are judged by it.

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Report, Series,
    pulse::{Kind, Pulse},
};
use crate::bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec};

const START: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);
/// So many datagrams of each kind, none of which has arrived, end the wait for a last one.
const SILENCE: usize = 100;
const POLL: Duration = Duration::from_millis(2);
/// What lies in the folder besides: policies and pods that have nothing to do with the change.
const CROWD: (usize, usize) = (1000, 2000);

/// Measures how soon a policy that is renamed into place takes the right to send away, or gives it, to datagrams of a
/// connection that is there and to new connections; alone, and among `CROWD`.
///
/// # Errors
/// If the bed cannot be built, or a change has no effect.
pub fn changes(quick: bool, report: &mut Report) -> Result<()> {
    let rounds = if quick { 20 } else { 200 };
    for (name, (policies, pods)) in [("change", (0, 0)), ("change_in_crowd", CROWD)] {
        let mut bed = build()?;
        crowd(&bed, policies, pods)?;
        bed.start_agents(&AgentOptions::default())?;
        bed.await_agents(START)?;
        let measured = measure(&mut bed, name, rounds);
        let log = || bed.agents().iter().map(|agent| agent.log()).collect::<String>();
        measured.with_context(log)?.iter().for_each(|series| report.add(series));
    }
    Ok(())
}

fn measure(bed: &mut Bed, name: &str, rounds: usize) -> Result<Vec<Series>> {
    let (closed, open) = (Manifest::new(bed, "nobody")?, Manifest::new(bed, "client")?);
    bed.await_agents(START)?;
    let server = bed.pod("bench/server")?;
    let address = server.addresses.iter().copied().find(IpAddr::is_ipv4).context("no IPv4 address")?;
    let series = |what: &str| Series::new(format!("{name}.{what}"), "ms");
    let kinds = [("connection", Kind::Connection), ("new", Kind::New)];
    let mut revoked = kinds.map(|(kind, _)| series(&format!("revoke.{kind}")));
    let mut allowed = kinds.map(|(kind, _)| series(&format!("allow.{kind}")));
    Pulse::run(&bed.pod("bench/client")?.netns, &server.netns, address, |pulse| {
        let since = Instant::now();
        await_that("the first datagrams", || {
            kinds.iter().all(|(_, kind)| pulse.first(*kind, since).is_some())
        })?;
        for _ in 0..rounds {
            let since = closed.put()?;
            await_that("the last datagrams", || {
                kinds.iter().all(|(_, kind)| pulse.unanswered(*kind) >= SILENCE)
            })?;
            for ((_, kind), series) in kinds.iter().zip(&mut revoked) {
                // None after the rename: it was quicker than the pulse.
                series
                    .rounds
                    .push(milliseconds(pulse.last(*kind).map(|at| at.saturating_duration_since(since))));
            }
            let since = open.put()?;
            await_that("a datagram", || kinds.iter().all(|(_, kind)| pulse.first(*kind, since).is_some()))?;
            for ((_, kind), series) in kinds.iter().zip(&mut allowed) {
                series.rounds.push(milliseconds(pulse.first(*kind, since).map(|at| at - since)));
            }
        }
        Ok(())
    })?;
    Ok(revoked.into_iter().chain(allowed).collect())
}

fn milliseconds(time: Option<Duration>) -> f64 {
    time.unwrap_or_default().as_secs_f64() * 1e3
}

fn await_that(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        ensure!(Instant::now() < deadline, "waiting for {what}");
        thread::sleep(POLL);
    }
    Ok(())
}

/// The policy of the server in one version, ready to be renamed into place.
struct Manifest {
    text: String,
    draft: PathBuf,
    place: PathBuf,
}

impl Manifest {
    fn new(bed: &mut Bed, role: &str) -> Result<Self> {
        bed.apply(&[policy(role)])?;
        let place = bed.manifests().join("networkpolicy.bench.server.yaml");
        let text = fs::read_to_string(&place).with_context(|| place.display().to_string())?;
        Ok(Self { text, draft: bed.folder().join("bench.draft"), place })
    }

    /// Puts it in place; when that began.
    fn put(&self) -> Result<Instant> {
        fs::write(&self.draft, &self.text)?;
        let now = Instant::now();
        fs::rename(&self.draft, &self.place)?;
        Ok(now)
    }
}

fn build() -> Result<Bed> {
    let nodes = vec![NodeSpec::new("node1", Cni::Ptp)];
    let mut bed = Bed::build(&ClusterSpec { nodes, outside: Vec::new(), families: vec![Family::V4] })?;
    let pod = |role: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": role, "namespace": "bench", "labels": {"role": role}},
            "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
        })
    };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
    bed.apply(&[namespace, policy("client"), pod("client"), pod("server")])?;
    Ok(bed)
}

fn policy(role: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "server", "namespace": "bench"},
        "spec": {
            "podSelector": {"matchLabels": {"role": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": role}}}]}],
        },
    })
}

/// Policies and pods of other namespaces and nodes, a file each.
fn crowd(bed: &Bed, policies: usize, pods: usize) -> Result<()> {
    let policies = (0..policies).map(|n| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": format!("policy{n}"), "namespace": format!("crowd{}", n % 20)},
            "spec": {
                "podSelector": {"matchLabels": {"app": format!("app{}", n % 50)}},
                "ingress": [{
                    "from": [{"podSelector": {"matchLabels": {"app": format!("app{}", (n + 1) % 50)}}}],
                    "ports": [{"port": 8000 + n % 100}],
                }],
            },
        })
    });
    let pods = (0..pods).map(|n| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("pod{n}"), "namespace": format!("crowd{}", n % 20),
                "labels": {"app": format!("app{}", n % 50)},
            },
            "spec": {"nodeName": "elsewhere", "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": format!("10.250.{}.{}", n / 250, n % 250 + 1)}]},
        })
    });
    for (number, object) in policies.chain(pods).enumerate() {
        let path = bed.manifests().join(format!("crowd{number}.json"));
        fs::write(&path, object.to_string()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
