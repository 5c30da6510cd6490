//! What must and must not become of every record of a flow while policies change.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use netpol_agent::oracle::{Family, Judgement, Party, Question, World, judge};
use netpol_common::net::proto;
use netpol_tests::probe::Protocol;

use super::{flow::Flow, random::PORT};

/// A record of an open flow is back long before.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
/// Datagrams that were handed to the kernel may still wait there to be judged: not more than these.
const QUEUED: u32 = 2;

/// A flow's way through the changes: long runs of records that all must come back, or of which none may arrive.
pub(crate) struct Course {
    judgement: Judgement,
    run: Run,
}

/// Records from `since` on: their sending began when the agents were known to be in sync.
enum Run {
    Open {
        since: u32,
    },
    Closed {
        since: u32,
    },
    /// Between old and new.
    Turning,
}

/// What the whole test has shown.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Shown {
    /// Records that had to come back, and did.
    pub(crate) returned: usize,
    /// Records that had to be dropped, and were.
    pub(crate) dropped: usize,
    /// Times that a flow was closed or opened.
    pub(crate) turns: usize,
    /// Flows over all changes that were open before and after.
    pub(crate) stayed_open: usize,
    /// Flows over all changes that were closed before and after.
    pub(crate) stayed_closed: usize,
}

impl Course {
    pub(crate) fn new(flow: &Flow, world: &World) -> Result<Self> {
        let judgement = ask(flow, world)?;
        ensure!(judgement.allowed(), "{flow} is closed from the start");
        Ok(Self { judgement, run: Run::Open { since: 0 } })
    }

    /// Before a change: `world` is what is to come. Ends the flow's run unless the change leaves it as it is.
    pub(crate) fn before(&mut self, flow: &Flow, world: &World, shown: &mut Shown) -> Result<()> {
        let new = ask(flow, world)?;
        let old = std::mem::replace(&mut self.judgement, new);
        let new = &self.judgement;
        // The agents of both ends act on their own: what one has closed before the other opens stays closed.
        let one_denies = |f: fn(&Judgement) -> bool| !f(&old) && !f(new);
        if old.allowed() && new.allowed() {
            shown.stayed_open += 1;
        } else if one_denies(|j| j.egress.allows()) || one_denies(|j| j.ingress.allows()) {
            shown.stayed_closed += 1;
        } else {
            shown.turns += 1;
            self.end(flow, shown)?;
        }
        Ok(())
    }

    /// After the change is in force.
    pub(crate) fn after(&mut self, flow: &Flow) {
        if let Run::Turning = self.run {
            let since = flow.log.begun();
            self.run = if self.judgement.allowed() { Run::Open { since } } else { Run::Closed { since } };
        }
    }

    /// Holds the records of the run that ends here to what they must be.
    pub(crate) fn end(&mut self, flow: &Flow, shown: &mut Shown) -> Result<()> {
        ensure!(flow.log.failure().is_none(), "{flow}: {:?}", flow.log.failure());
        let sent = flow.log.sent();
        match std::mem::replace(&mut self.run, Run::Turning) {
            // A connection that was silenced goes on with TCP's next retransmission: it had no time for that yet.
            Run::Open { since } if is_silent(flow, since, sent) => {}
            Run::Open { since } => {
                await_return(flow, since, sent)?;
                shown.returned += sent.saturating_sub(since) as usize;
            }
            Run::Closed { since } => {
                let sent = if flow.protocol == Protocol::Udp { sent.saturating_sub(QUEUED) } else { sent };
                let leaked = flow.log.arrived(since, sent);
                ensure!(leaked.is_empty(), "{flow} is closed, of {since}..{sent} arrived {leaked:?}");
                shown.dropped += sent.saturating_sub(since) as usize;
            }
            Run::Turning => {}
        }
        Ok(())
    }

    /// The end of the last run: by now TCP has had its time.
    pub(crate) fn finish(&mut self, flow: &Flow, shown: &mut Shown) -> Result<()> {
        if let Run::Open { since } = self.run {
            await_return(flow, since, flow.log.sent())?;
        }
        self.end(flow, shown)
    }
}

fn is_silent(flow: &Flow, since: u32, sent: u32) -> bool {
    flow.protocol == Protocol::Tcp && since > 0 && flow.log.arrived(since, sent).is_empty()
}

fn await_return(flow: &Flow, since: u32, sent: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let missing = flow.log.missing(since, sent);
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let arrived = missing.iter().filter(|n| !flow.log.arrived(**n, **n + 1).is_empty()).count();
            anyhow::bail!(
                "{flow} is open, of {since}..{sent} did not come back {missing:?}, {arrived} of them have arrived"
            );
        }
        ensure!(flow.log.failure().is_none(), "{flow}: {:?}", flow.log.failure());
        thread::sleep(POLL);
    }
}

fn ask(flow: &Flow, world: &World) -> Result<Judgement> {
    let pod = |full: &str| {
        let (namespace, name) = full.split_once('/').unwrap_or_default();
        Party::Pod { namespace: namespace.to_owned(), name: name.to_owned() }
    };
    let protocol = if flow.protocol == Protocol::Tcp { proto::TCP } else { proto::UDP };
    Ok(judge(
        world,
        &Question {
            from: pod(&flow.from),
            to: pod(&flow.to),
            family: Family::of(flow.target.ip()),
            protocol,
            port: PORT,
        },
    )?)
}
