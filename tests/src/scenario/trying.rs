//! Tries out one probe in one family until what is seen is what was expected, or time is up.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use netpol_agent::flow::Verdict;
use tokio::sync::Mutex;

use super::{
    expect::{Seen, Try, judge, lacks_answers},
    format::{Expect, Probe},
};
use crate::{
    bed::{Bed, Netns, Place},
    flows::{FlowLog, Wanted},
    probe::{Connection, MIN_SIZE, Outcome, Protocol, outcome_of},
    serve::Transport,
};

/// A fresh connection is given up after this; the next one may meet what has changed meanwhile.
const FRESH: Duration = Duration::from_millis(300);
/// See [`Trial::last`].
const LAST: Duration = Duration::from_millis(1000);
/// A labelled connection is silent if nothing comes back for a second.
const LABELLED: Duration = Duration::from_secs(1);
/// How long a record of a drop may be on its way.
const RECORD: Duration = Duration::from_millis(500);
/// Once a drop is on record, nothing of the packet may be on its way any more: what is found after this is a packet that
/// was both recorded as dropped and let through.
pub(super) const AFTERMATH: Duration = Duration::from_millis(50);
/// Between two tries: they would follow each other without end where a refusal comes at once.
const PAUSE: Duration = Duration::from_millis(20);
pub(super) const POLL: Duration = Duration::from_millis(5);
/// Tries of one probe at the same time.
const PARALLEL: usize = 16;
/// How many times [`Probe::count`] is tried, at most, until each backend has answered: which one is drawn is chance, and ten
/// draws from two miss one of them once in 500 probes.
const ROUNDS: usize = 4;

/// A connection that is kept over steps.
pub(super) type Kept = Arc<Mutex<Option<Connection>>>;

/// One probe in one family.
pub(super) struct Trial<'a> {
    pub(super) bed: &'a Bed,
    pub(super) log: Option<&'a FlowLog>,
    pub(super) probe: &'a Probe,
    pub(super) protocol: Protocol,
    pub(super) from: Arc<Netns>,
    pub(super) target: SocketAddr,
    /// Whose arrivals count as having reached the server: pods.
    pub(super) servers: Vec<String>,
    pub(super) kept: Option<Kept>,
    /// How much longer than usual answers may take.
    pub(super) slack: u32,
}

impl Trial<'_> {
    /// The last try of an answer: nothing but a silent network makes it fail.
    fn last(&self) -> Duration {
        LAST * self.slack
    }

    /// Tries until the expectation is met; a try that begins after the deadline does not count, but one is always made.
    pub(super) async fn until(&self, deadline: Instant) -> Result<(Seen, Result<(), String>)> {
        loop {
            let last = Instant::now() + FRESH >= deadline;
            let seen = self.try_all(if last { self.last() } else { FRESH }).await?;
            let verdict = judge(self.bed, self.probe, &seen);
            if verdict.is_ok() || Instant::now() >= deadline {
                return Ok((seen, verdict));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tries once more: what was met must still hold.
    pub(super) async fn once(&self) -> Result<(Seen, Result<(), String>)> {
        let mut seen = self.try_all(self.last()).await?;
        for _ in 1..ROUNDS {
            if !lacks_answers(self.probe, &seen) {
                break;
            }
            seen.tries.extend(self.try_all(self.last()).await?.tries);
        }
        let verdict = judge(self.bed, self.probe, &seen);
        Ok((seen, verdict))
    }

    async fn try_all(&self, patience: Duration) -> Result<Seen> {
        // Waiting for nothing is not done any better by waiting longer.
        let patience = if self.probe.expect == Expect::Drop { FRESH } else { patience };
        let mut tries = Vec::new();
        if let Some(pace) = self.probe.every {
            let mut pace = tokio::time::interval(pace);
            while tries.len() < self.probe.count {
                pace.tick().await;
                tries.push(self.try_one(patience).await?);
            }
        }
        while tries.len() < self.probe.count {
            let batch = (self.probe.count - tries.len()).min(PARALLEL);
            let batch = futures_util::future::join_all((0..batch).map(|_| self.try_one(patience))).await;
            for one in batch {
                tries.push(one?);
            }
        }
        Ok(Seen { tries })
    }

    async fn try_one(&self, patience: Duration) -> Result<Try> {
        let since = Instant::now();
        if self.protocol.is_packets() {
            let (source, mut one) = self.packet(patience).await?;
            self.collect_records(&mut one, source, since).await;
            return Ok(one);
        }
        self.prepare_witnesses()?;
        let (source, outcome) = match &self.kept {
            None => self.fresh(patience, since).await,
            Some(kept) => self.labelled(kept, since).await,
        };
        let mut one = Try { outcome, reached: Vec::new(), flows: Vec::new() };
        if let Some(source) = source {
            one.reached = self.reached(source, since)?;
            self.collect_records(&mut one, source, since).await;
        }
        Ok(one)
    }

    async fn fresh(&self, patience: Duration, since: Instant) -> (Option<SocketAddr>, Outcome) {
        match Connection::prepare(&self.from, self.protocol, self.target) {
            Ok(mut connection) => {
                (Some(connection.source()), self.exchange(&mut connection, patience, since).await)
            }
            Err(e) => (None, outcome_of(&e)),
        }
    }

    /// Asks once. An expected drop is not waited for any longer once it is on record.
    async fn exchange(&self, connection: &mut Connection, patience: Duration, since: Instant) -> Outcome {
        let source = connection.source();
        let mut exchange = pin!(connection.exchange(self.size(), patience));
        if self.probe.expect != Expect::Drop {
            return exchange.await;
        }
        tokio::select! {
            outcome = &mut exchange => return outcome,
            () = self.recorded(source, since) => {}
        }
        tokio::time::timeout(AFTERMATH, exchange).await.unwrap_or(Outcome::Silent)
    }

    /// Until an agent has recorded that it dropped something of this try; never without agents.
    pub(super) async fn recorded(&self, source: SocketAddr, since: Instant) {
        let Some(log) = self.log else { return std::future::pending().await };
        let wanted = self.wanted(source, since);
        while !log.of(&wanted).iter().any(|record| record.verdict == Verdict::Dropped) {
            tokio::time::sleep(POLL).await;
        }
    }

    /// The first try that meets the expectation opens the connection for good.
    async fn labelled(&self, kept: &Kept, since: Instant) -> (Option<SocketAddr>, Outcome) {
        let mut kept = kept.lock().await;
        if let Some(connection) = kept.as_mut() {
            return (Some(connection.source()), self.exchange(connection, LABELLED, since).await);
        }
        match Connection::prepare(&self.from, self.protocol, self.target) {
            Ok(mut connection) => {
                let outcome = self.exchange(&mut connection, LABELLED, since).await;
                let source = connection.source();
                let met = match self.probe.expect {
                    Expect::Ok | Expect::Audit => matches!(outcome, Outcome::Answered(_)),
                    Expect::Drop => outcome == Outcome::Silent,
                    Expect::Refuse => false,
                };
                *kept = met.then_some(connection);
                (Some(source), outcome)
            }
            Err(e) => (None, outcome_of(&e)),
        }
    }

    fn size(&self) -> usize {
        self.probe.size.max(MIN_SIZE)
    }

    /// Pods that see what arrives; only a probe that expects nothing to arrive needs them.
    fn prepare_witnesses(&self) -> Result<()> {
        if self.probe.expect == Expect::Drop {
            for server in &self.servers {
                self.bed.pod(server)?.witness(self.bed.runtime())?;
            }
        }
        Ok(())
    }

    fn reached(&self, source: SocketAddr, since: Instant) -> Result<Vec<String>> {
        let mut reached = Vec::new();
        if self.probe.expect != Expect::Drop {
            return Ok(reached);
        }
        for server in &self.servers {
            let pod = self.bed.pod(server)?;
            let saw = match (pod.witness(self.bed.runtime())?, self.protocol) {
                (Some(witness), protocol) => witness.saw(protocol, source, since),
                (None, Protocol::Tcp) => pod.servers.arrivals.saw(Transport::Tcp, source, since),
                (None, Protocol::Udp) => pod.servers.arrivals.saw(Transport::Udp, source, since),
                (None, _) => false,
            };
            if saw {
                reached.push(server.clone());
            }
        }
        Ok(reached)
    }

    fn wanted(&self, source: SocketAddr, since: Instant) -> Wanted {
        let translated = self.probe.to.is_translated();
        Wanted { protocol: self.protocol, source, target: self.target, translated, since }
    }

    /// Waits for the record that the expectation asks for; other outcomes take what is there.
    async fn collect_records(&self, one: &mut Try, source: SocketAddr, since: Instant) {
        let Some(log) = self.log else { return };
        let wanted = self.wanted(source, since);
        let deadline = Instant::now() + RECORD;
        loop {
            one.flows = log.of(&wanted);
            let awaited = match self.probe.expect {
                Expect::Drop => one.outcome == Outcome::Silent,
                Expect::Audit => matches!(one.outcome, Outcome::Answered(_)),
                Expect::Ok | Expect::Refuse => false,
            };
            let whole = Seen { tries: vec![one.clone()] };
            if !awaited || judge(self.bed, self.probe, &whole).is_ok() || Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The pods that a packet to this address could reach: the one that has it, or any.
pub(super) fn servers(bed: &Bed, from: &Place, target: SocketAddr) -> Vec<String> {
    let owners: Vec<_> =
        bed.pods().filter(|p| p.addresses.contains(&target.ip())).map(|p| p.name.clone()).collect();
    if !owners.is_empty() {
        return owners;
    }
    // What the client sends also shows up in its own namespace.
    bed.pods()
        .map(|p| p.name.clone())
        .filter(|name| !matches!(from, Place::Pod(own) if own == name))
        .collect()
}

/// The network that a probe starts in.
pub(super) fn start(bed: &Bed, place: &Place) -> Result<Arc<Netns>> {
    bed.netns(place).with_context(|| format!("from {place}"))
}
