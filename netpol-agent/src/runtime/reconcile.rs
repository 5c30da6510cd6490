//! The loop: events in, operations out.

use std::{collections::BTreeSet, future::pending, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::{
        mpsc::{Receiver, UnboundedReceiver},
        oneshot,
    },
    task::{JoinError, block_in_place},
    time::{Instant, sleep_until},
};

use super::{
    Shared,
    later::Later,
    programming::Programming,
    status::{Asked, Status, Wired},
};
use crate::{
    ctl::Stage,
    dataplane::{
        self, Dataplane, Interface, Op,
        kernel::{self, Change, Maps},
    },
    engine::{Plan, Refusal},
    model,
    source::SourceEvent,
};

/// How soon an operation that failed is tried again, at first.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// And after many times.
const RETRY_LAST: Duration = Duration::from_secs(10);

/// Drives the engine, and is the only writer of the maps.
pub(super) struct Reconciler<D> {
    shared: Shared,
    dataplane: D,
    /// Interfaces that have gone since the last plan was carried out.
    gone: BTreeSet<u32>,
    retry: Option<(Instant, Duration)>,
    later: Later,
    /// Since this process has put everything in force for the first time.
    epoch_advanced: bool,
    /// Services are another proxy's.
    without_services: bool,
    programming: Programming,
    /// When this process began to work.
    began: Instant,
}

impl<D: Dataplane + Epoch> Reconciler<D> {
    pub(super) fn new(shared: Shared, dataplane: D) -> Self {
        let (gone, retry, later) = (BTreeSet::new(), None, Later::default());
        let programming = Programming::new(Timestamp::now());
        let (epoch_advanced, without_services, began) = (false, false, Instant::now());
        Self { shared, dataplane, gone, retry, later, epoch_advanced, without_services, programming, began }
    }

    /// Takes no notice of Services if another proxy serves them.
    pub(super) fn without_services(self, without_services: bool) -> Self {
        Self { without_services, ..self }
    }

    /// Until one of the channels is closed.
    pub(super) async fn run(
        mut self,
        mut source: Receiver<Vec<SourceEvent>>,
        known: Vec<Change>,
        mut changes: UnboundedReceiver<Change>,
        mut asked: Receiver<Asked>,
    ) -> Ended {
        for change in known {
            self.change(change);
        }
        loop {
            self.shared.pulse().rest();
            let retry = self.retry.map(|(at, _)| at);
            let (mut waiting, mut haste) = (None, Haste::No);
            tokio::select! {
                batch = source.recv() => match batch {
                    Some(batch) => self.batch(batch),
                    None => return Ended::Source,
                },
                change = changes.recv() => match change {
                    Some(change) => self.change(change),
                    None => return Ended::Discovery,
                },
                Some(Asked { wiring, done }) = asked.recv() => {
                    wiring.into_iter().for_each(|wired| self.wire(wired));
                    // Whoever asks may want to count rows.
                    (waiting, haste) = (Some(done), Haste::Yes);
                }
                ended = self.later.over() => haste = self.take_up(ended),
                () = at(retry) => {}
            }
            // Nothing is waited for: the source tells together what belongs together. What has come while the last change was
            // carried out is compiled at once, and so is what was sent before somebody asked.
            while let Ok(batch) = source.try_recv() {
                self.batch(batch);
            }
            while let Ok(change) = changes.try_recv() {
                self.change(change);
            }
            self.settle(haste);
            if waiting.is_some_and(|waiting: oneshot::Sender<()>| waiting.send(()).is_err()) {
                tracing::trace!("whoever asked did not wait for the answer");
            }
        }
    }

    fn batch(&mut self, batch: Vec<SourceEvent>) {
        self.shared.pulse().beat();
        let mut engine = self.shared.engine_mut();
        engine.set_time(Timestamp::now().as_second());
        for event in batch {
            match event {
                SourceEvent::Apply { manifest, .. }
                    if self.without_services && manifest.is_about_services() => {}
                SourceEvent::Apply { mut manifest, origin } => {
                    let converted = model::convert(&manifest, &origin);
                    manifest.forget_origin();
                    self.shared.keep(&manifest);
                    if engine.is_news(&converted) {
                        self.programming.changed(&model::reference(&manifest), &manifest);
                    }
                    engine.apply(converted);
                }
                SourceEvent::Delete(object) => {
                    self.shared.forget(&object);
                    self.programming.gone(&object);
                    engine.delete(&object);
                }
                SourceEvent::Problems(problems) => self.shared.update(|status| status.problems = problems),
                SourceEvent::Synced => {
                    engine.synced();
                    self.shared.update(|status| status.synced = true);
                    self.shared.measures().reached(Stage::Delivered, self.began.elapsed());
                    tracing::info!("the source has delivered everything");
                }
            }
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Up(interface) => {
                // The index of an interface that is gone: its row goes before the new one's comes, also where both are
                // equal, because discovery has removed it from the kernel meanwhile.
                if self.gone.contains(&interface.ifindex) {
                    self.settle(Haste::No);
                }
                let Interface { ifindex, name, netns, addresses, master: _, adopting: _ } = &interface;
                tracing::info!(ifindex, name, netns, ?addresses, "interface of a pod");
                self.shared.engine_mut().interface_up(interface);
            }
            Change::Gone(ifindex) => {
                tracing::info!(ifindex, "interface gone");
                self.gone.insert(ifindex);
                self.shared.engine_mut().interface_gone(ifindex);
            }
        }
    }

    fn wire(&mut self, wired: Wired) {
        let mut engine = self.shared.engine_mut();
        match wired {
            Wired::Up(pod, wired) => engine.wire(&pod, wired),
            Wired::Down(pod, attachment) => engine.unwire(&pod, &attachment),
        }
    }

    /// Plans and carries out until nothing is left to do but what can be put off, or something fails.
    fn settle(&mut self, haste: Haste) {
        let result = block_in_place(|| self.carry_out(haste));
        let failure = match result {
            Ok(()) => {
                self.retry = None;
                self.gone.clear();
                let Status { synced, refusals, .. } = self.shared.status();
                if synced {
                    for (what, after) in self.programming.in_force(&refusals, Timestamp::now()) {
                        self.shared.measures().programmed(what, after);
                    }
                }
                None
            }
            Err(error) => {
                let wait = self.retry.map_or(RETRY_FIRST, |(_, wait)| (wait * 2).min(RETRY_LAST));
                self.retry = Some((Instant::now() + wait, wait));
                tracing::error!(error = &error as &dyn std::error::Error, retry = ?wait, "writing the dataplane");
                Some(format!("{error}: {}", error.source))
            }
        };
        self.shared.forget_deleted();
        let epoch = self.dataplane.epoch();
        self.shared.update(|status| {
            status.in_sync = status.synced && failure.is_none() && status.refusals.is_empty();
            status.failure = failure;
            status.epoch = epoch;
        });
        self.shared.announce_settled();
    }

    fn carry_out(&mut self, haste: Haste) -> Result<(), dataplane::Error> {
        loop {
            self.shared.pulse().beat();
            let began = Instant::now();
            let Plan { ops, in_force, refusals } = self.shared.engine_mut().plan();
            self.shared.measures().compiled(began.elapsed());
            self.note_refusals(refusals);
            let synced = self.shared.status().synced;
            if ops.is_empty() {
                self.later.clear();
                if synced {
                    self.shared.told().settle(self.shared.checks());
                }
                return self.settle_debts();
            }
            if synced {
                self.shared.told().lower(&self.shared.checks());
            }
            tracing::debug!(operations = ops.len(), in_force, "plan");
            self.shared.update(|status| status.in_sync = false);
            let began = Instant::now();
            let (now, rest) = ops.split_at(in_force);
            self.apply(now)?;
            let patient = haste == Haste::No && self.epoch_advanced && !rest.is_empty();
            let grace = || self.dataplane.grace();
            let put_off = patient && self.later.put_off(rest, now.is_empty(), Instant::now(), grace);
            if !put_off {
                self.apply(rest)?;
            }
            self.shared.measures().applied(began.elapsed());
            if put_off {
                self.shared.told().settle(self.shared.checks());
                return Ok(());
            }
        }
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), dataplane::Error> {
        let mut left = ops;
        while !left.is_empty() {
            let (done, after) = left.split_at(self.dataplane.apply_first(left)?);
            tracing::trace!(?done);
            self.shared.pulse().beat();
            let mut engine = self.shared.engine_mut();
            done.iter().for_each(|op| engine.applied(op));
            left = after;
        }
        Ok(())
    }

    /// A grace period is over: carries out what was put off until then. What fails is planned again, and then nothing is put off.
    fn take_up(&mut self, ended: Result<Result<(), dataplane::Error>, JoinError>) -> Haste {
        let due = self.later.due(ended, || self.dataplane.grace());
        let done = due.and_then(|due| {
            let Some((grace, rest)) = due.as_deref().and_then(<[Op]>::split_first) else { return Ok(()) };
            self.shared.engine_mut().applied(grace);
            block_in_place(|| self.apply(rest))
        });
        match done {
            Ok(()) => Haste::No,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "what nothing names stays for now");
                Haste::Yes
            }
        }
    }

    /// An agent before this one may have ended between a change and the epoch that was to follow it: nothing in the maps
    /// tells, so every connection is judged once more.
    fn settle_debts(&mut self) -> Result<(), dataplane::Error> {
        if !self.epoch_advanced && self.shared.status().synced {
            self.dataplane.apply(&Op::AdvanceEpoch)?;
            self.epoch_advanced = true;
            // All that was read at first has gone through memory, and a tenth of it stays.
            if let Err(error) = kernel::give_back() {
                tracing::warn!(%error, "free memory stays the agent's");
            }
            self.shared.update(|status| status.programmed = true);
            self.shared.measures().reached(Stage::InForce, self.began.elapsed());
            tracing::info!("everything that was delivered is in force");
        }
        Ok(())
    }

    fn note_refusals(&self, refusals: Vec<Refusal>) {
        let before = self.shared.status().refusals;
        for refusal in refusals.iter().filter(|refusal| !before.contains(refusal)) {
            tracing::error!(
                error = refusal as &dyn std::error::Error,
                "not written, the last good state stays"
            );
        }
        self.shared.update(|status| status.refusals = refusals);
    }
}

/// Whether what could be put off is done at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Haste {
    Yes,
    No,
}

/// Why the loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    Source,
    Discovery,
}

impl Ended {
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Source => "the source",
            Self::Discovery => "discovery",
        }
    }
}

/// Something that has an epoch counter.
pub(super) trait Epoch {
    fn epoch(&self) -> u32;
}

impl Epoch for Maps {
    fn epoch(&self) -> u32 {
        Self::epoch(self)
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
