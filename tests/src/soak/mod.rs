//! An agent that follows many new connections for a while: whether its records tell of each of them, and what it takes of the node.
//!
//! Connections are counted by whoever makes them; everything else is what the agent says, in records, metrics and on disk, with the
//! losses that it reports itself.

mod account;
mod load;
mod records;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec},
    flows::status,
    usage::Usage,
};
pub use account::Account;
use account::{Counted, Kept, Sent, accounts};
use load::{REPEATED, Share};
use records::Records;

const NAMESPACE: &str = "soak";
const SERVER: &str = "soak/server";
const CLIENTS: u32 = 4;
const STRANGERS: u32 = 2;
/// For the agent to come to be in sync, and to answer.
const START: Duration = Duration::from_secs(30);
/// From one look at the agent's memory to the next.
const LOOK: Duration = Duration::from_secs(1);
/// From one look at what was heard to the next.
const POLL: Duration = Duration::from_millis(50);
/// The agent walks through its tables every five seconds, in slices.
const WALK: Duration = Duration::from_secs(30);
/// A port of a client's own kernel is not free sooner after a connection.
const TIME_WAIT: Duration = Duration::from_secs(60);

/// What to do to an agent.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Soak {
    /// How long connections are made, in seconds.
    pub seconds: u32,
    /// New flows a second.
    pub rate: u32,
    /// How many of 100 flows are denied.
    pub drops: u8,
    /// How long the agent remembers a connection that is over, in seconds; its record of the end comes then.
    pub remember: u32,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub soak: Soak,
    /// How long it took to make the connections, in seconds: more than asked for if the machine was too slow.
    pub took: f64,
    /// Each way in which they are told of.
    pub accounts: Vec<Account>,
    /// Records of anything else.
    pub others: u64,
    /// Processor time of the agent while connections were made, in seconds.
    pub cpu: f64,
    /// Resident memory of the agent, in MiB: before, then once a second while connections were made, and afterwards.
    pub resident: Vec<f64>,
}

impl Report {
    /// Whether nothing is missing but what was reported as lost.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.accounts.iter().all(Account::balances)
    }

    /// Resident memory in MiB: before, the median of the first and of the last quarter of the time, at most, afterwards.
    #[must_use]
    pub fn memory(&self) -> [f64; 5] {
        let quarter = self.resident.len().div_ceil(4);
        let median = |part: &[f64]| {
            let mut part = part.to_vec();
            part.sort_by(f64::total_cmp);
            part.get(part.len() / 2).copied().unwrap_or_default()
        };
        let (first, last) = (&self.resident[..quarter], &self.resident[self.resident.len() - quarter..]);
        let most = self.resident.iter().copied().fold(0.0, f64::max);
        let end = |value: Option<&f64>| value.copied().unwrap_or_default();
        [end(self.resident.first()), median(first), median(last), most, end(self.resident.last())]
    }
}

impl Soak {
    fn during(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// Flows in all, and those of them that are denied.
    fn flows(&self) -> (u64, u64) {
        let all = u64::from(self.rate) * u64::from(self.seconds);
        (all, all * u64::from(self.drops) / 100)
    }

    /// The flows, divided among the pods.
    fn shares<'a>(&self, bed: &'a Bed) -> Result<Vec<Share<'a>>> {
        let (all, denied) = self.flows();
        let of = |role: &'static str, pods: u32, flows: u64| {
            (0..pods)
                .map(move |n| (format!("{NAMESPACE}/{role}-{n}"), part(flows, pods, n), role == "stranger"))
        };
        let shares = of("client", CLIENTS, all - denied).chain(of("stranger", STRANGERS, denied));
        let shares = shares.map(|(pod, flows, denied)| Ok(Share { pod: bed.pod(&pod)?, flows, denied }));
        let shares = shares.collect::<Result<Vec<_>>>()?;
        let least = TIME_WAIT.max(Duration::from_secs(self.remember.into())) + WALK;
        let soonest = shares.iter().filter(|s| !s.denied).filter_map(|share| share.turn(self.during())).min();
        ensure!(
            soonest.is_none_or(|turn| turn >= least),
            "at {} flows a second a client's source ports come again after {soonest:?}, while connections from them are remembered: \
             that must be {least:?} at least",
            self.rate
        );
        Ok(shares)
    }

    /// Builds a cluster of one node, and makes connections in it.
    ///
    /// # Errors
    /// If that cannot be done at this rate, the bed cannot be built, a connection that is allowed is not answered, or the agent ends.
    pub fn run(&self) -> Result<Report> {
        let nodes = vec![NodeSpec::new("node1", Cni::Ptp)];
        let mut bed =
            Bed::build(&ClusterSpec { nodes, outside: Vec::new(), families: Family::ALL.to_vec() })?;
        bed.apply(&objects())?;
        let store = bed.folder().join("store");
        let mut arguments = vec![format!("--flow-store={}", store.display())];
        arguments
            .extend(["tcp-closed", "udp-answered"].map(|t| format!("--ct-timeout={t}={}s", self.remember)));
        bed.start_agent("node1", &AgentOptions { arguments, ..AgentOptions::default() })?;
        bed.await_agents(START)?;
        let shares = self.shares(&bed)?;
        let agent = &bed.agents()[0];
        let begun = status(agent)?;
        let records = Records::follow(agent)?;
        await_that(START, || Ok(status(agent)?.flows.followers > begun.flows.followers))
            .context("the agent lets nobody follow its records")?;

        let (before, counted_before) = (Usage::of(agent.id())?, Counted::of(agent)?);
        let begin = Instant::now();
        let mut resident = vec![before.resident];
        load::run(&bed, SERVER, &shares, self.during(), LOOK, || {
            resident.push(Usage::of(agent.id())?.resident);
            Ok(())
        })?;
        let (took, after) = (begin.elapsed().as_secs_f64(), Usage::of(agent.id())?);

        let (all, denied) = self.flows();
        let sent = Sent { opened: all - denied, denied: denied * REPEATED };
        // What is late is missing in the accounts.
        let remember = Duration::from_secs(self.remember.into());
        if let Err(error) = await_that(remember + WALK, || Ok(sent.are_told(records.heard()))) {
            tracing::warn!("records: {error:#}");
        }
        let counted = Counted::of(agent)?.since(counted_before);
        resident.push(Usage::of(agent.id())?.resident);
        bed.take_agent("node1")?.stop()?;
        let heard = records.finish()?;
        let kept = Kept::read(&store)?;
        Ok(Report {
            soak: *self,
            took,
            accounts: accounts(sent, heard, counted, kept),
            others: heard.others,
            cpu: after.cpu - before.cpu,
            resident,
        })
    }
}

/// So much of a whole, for one of `pods`.
fn part(whole: u64, pods: u32, number: u32) -> u64 {
    let (pods, number) = (u64::from(pods), u64::from(number));
    whole / pods + u64::from(number < whole % pods)
}

/// Clients that may reach a server, and strangers that may not.
fn objects() -> Vec<Value> {
    let pod = |name: String, app: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": app}},
            "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
        })
    };
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "server", "namespace": NAMESPACE},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}],
        },
    });
    let mut objects =
        vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}), policy];
    objects.push(pod("server".to_owned(), "server"));
    objects.extend((0..CLIENTS).map(|n| pod(format!("client-{n}"), "client")));
    objects.extend((0..STRANGERS).map(|n| pod(format!("stranger-{n}"), "stranger")));
    objects
}

fn await_that(patience: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within {patience:?}");
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_is_somebodys() {
        for whole in [0, 1, 7, 1_600] {
            assert_eq!((0..CLIENTS).map(|n| part(whole, CLIENTS, n)).sum::<u64>(), whole);
        }
        let soak = Soak { seconds: 600, rate: 2_000, drops: 20, remember: 60 };
        assert_eq!(soak.flows(), (1_200_000, 240_000));
    }
}
