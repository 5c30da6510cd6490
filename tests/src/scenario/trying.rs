//! Tries out one probe in one family until what is seen is what was expected, or time is up.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use super::{
    expect::{Seen, Try, judge},
    format::{Expect, Probe, Speaks},
};
use crate::{
    bed::{Bed, Netns, Place},
    flows::{FlowLog, Wanted},
    probe::{Connection, MIN_SIZE, Outcome, Protocol, outcome_of},
    serve::Transport,
};

/// A fresh connection is given up after this; the next one may meet what has changed meanwhile.
const FRESH: Duration = Duration::from_millis(300);
/// The last try of an answer: nothing but a silent network makes it fail.
const LAST: Duration = Duration::from_millis(1000);
/// A labelled connection is silent if nothing comes back for a second.
const LABELLED: Duration = Duration::from_secs(1);
/// How long a record of a drop may be on its way.
const RECORD: Duration = Duration::from_millis(500);
/// Between two tries: they would follow each other without end where a refusal comes at once.
const PAUSE: Duration = Duration::from_millis(20);
const POLL: Duration = Duration::from_millis(5);
/// Tries of one probe at the same time.
const PARALLEL: usize = 16;

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
}

/// What the probe speaks; `None` for what cannot be probed yet.
pub(super) fn protocol(speaks: Speaks) -> Option<Protocol> {
    match speaks {
        Speaks::Tcp => Some(Protocol::Tcp),
        Speaks::Udp => Some(Protocol::Udp),
        Speaks::Icmp => Some(Protocol::Icmp),
        Speaks::Sctp => None,
    }
}

impl Trial<'_> {
    /// Tries until the expectation is met; a try that begins after the deadline does not count, but one is always made.
    pub(super) async fn until(&self, deadline: Instant) -> Result<(Seen, Result<(), String>)> {
        loop {
            let last = Instant::now() + FRESH >= deadline;
            let seen = self.try_all(if last { LAST } else { FRESH }).await?;
            let verdict = judge(self.bed, self.probe, &seen);
            if verdict.is_ok() || Instant::now() >= deadline {
                return Ok((seen, verdict));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tries once more: what was met must still hold.
    pub(super) async fn once(&self) -> Result<(Seen, Result<(), String>)> {
        let seen = self.try_all(LAST).await?;
        let verdict = judge(self.bed, self.probe, &seen);
        Ok((seen, verdict))
    }

    async fn try_all(&self, patience: Duration) -> Result<Seen> {
        // Waiting for nothing is not done any better by waiting longer.
        let patience = if self.probe.expect == Expect::Drop { FRESH } else { patience };
        let mut tries = Vec::new();
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
        self.prepare_witnesses()?;
        let since = Instant::now();
        let (source, outcome) = match &self.kept {
            None => self.fresh(patience).await,
            Some(kept) => self.labelled(kept).await,
        };
        let mut one = Try { outcome, reached: Vec::new(), flows: Vec::new() };
        if let Some(source) = source {
            one.reached = self.reached(source, since)?;
            self.collect_records(&mut one, source, since).await;
        }
        Ok(one)
    }

    async fn fresh(&self, patience: Duration) -> (Option<SocketAddr>, Outcome) {
        match Connection::prepare(&self.from, self.protocol, self.target) {
            Ok(mut connection) => {
                (Some(connection.source()), connection.exchange(self.size(), patience).await)
            }
            Err(e) => (None, outcome_of(&e)),
        }
    }

    /// The first try that meets the expectation opens the connection for good.
    async fn labelled(&self, kept: &Kept) -> (Option<SocketAddr>, Outcome) {
        let mut kept = kept.lock().await;
        if let Some(connection) = kept.as_mut() {
            return (Some(connection.source()), connection.exchange(self.size(), LABELLED).await);
        }
        match Connection::prepare(&self.from, self.protocol, self.target) {
            Ok(mut connection) => {
                let outcome = connection.exchange(self.size(), LABELLED).await;
                let source = connection.source();
                let met = match self.probe.expect {
                    Expect::Ok => matches!(outcome, Outcome::Answered(_)),
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
                (None, Protocol::Icmp) => false,
            };
            if saw {
                reached.push(server.clone());
            }
        }
        Ok(reached)
    }

    /// Waits for the record that the expectation asks for; other outcomes take what is there.
    async fn collect_records(&self, one: &mut Try, source: SocketAddr, since: Instant) {
        let Some(log) = self.log else { return };
        let wanted = Wanted { protocol: self.protocol, source, target: self.target, since };
        let deadline = Instant::now() + RECORD;
        loop {
            one.flows = log.of(&wanted);
            let awaited = self.probe.expect == Expect::Drop && one.outcome == Outcome::Silent;
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
