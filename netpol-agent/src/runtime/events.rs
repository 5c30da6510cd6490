//! From the programs' rings to the store of records.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use netpol_common::{conntrack::CtEntry, event::PacketEvent, told::ToldKey};
use tokio::time::{MissedTickBehavior, interval};

use super::{Shared, nearest::Nearest};
use crate::{
    dataplane::kernel::{Drained, Life, Ring, Told, Untold},
    flow::{self, FlowMetrics, FlowRecord, FlowStore, Span},
};

/// Records taken from a ring at a time; between two handfuls the loop may write what it knows.
pub(super) const HANDFUL: usize = 256;
/// How often the programs are asked what they have dropped and not told of.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Makes records of events.
pub(super) struct Recorder {
    pub(super) shared: Shared,
    pub(super) store: Arc<FlowStore>,
    pub(super) metrics: Arc<FlowMetrics>,
    pub(super) node: Arc<str>,
}

/// Decodes what comes, gives it names and keeps it.
pub(super) async fn run(mut ring: Ring, recorder: Recorder) {
    let mut nearest = Nearest::new(Instant::now());
    loop {
        let drained = ring.next(HANDFUL).await;
        recorder.record(&drained, &mut nearest, |_, _| {});
    }
}

/// As [`run`], for drops, of which the programs tell once a second what they have counted only.
pub(super) async fn run_drops(mut ring: Ring, mut told: Told, recorder: Recorder) {
    let mut nearest = Nearest::new(Instant::now());
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What was told of since the last question: what comes later and is counted only is like one of these.
    let mut known = HashMap::new();
    loop {
        tokio::select! {
            drained = ring.next(HANDFUL) => recorder.remember(&drained, &mut nearest, &mut known),
            _ = ticks.tick() => match told.ask() {
                Ok(untold) => {
                    // Whatever is counted was told of before, in an event that is in the ring by now.
                    loop {
                        let drained = ring.drain(HANDFUL);
                        if drained.events.is_empty() && drained.foreign == 0 {
                            break;
                        }
                        recorder.remember(&drained, &mut nearest, &mut known);
                        tokio::task::yield_now().await;
                    }
                    recorder.sum_up(&untold, &known);
                    known.clear();
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "reading which drops were counted only");
                }
            },
        }
    }
}

impl Recorder {
    fn record(
        &self,
        drained: &Drained,
        nearest: &mut Nearest,
        mut also: impl FnMut(&PacketEvent, &Arc<FlowRecord>),
    ) {
        if drained.foreign > 0 {
            tracing::warn!(records = drained.foreign, "records of a layout that is not this agent's");
        }
        let moment = (self.shared.epoch(), Instant::now());
        let engine = self.shared.engine();
        for event in &drained.events {
            match flow::decode(event) {
                Ok(decoded) => {
                    let time = self.shared.time_of(event.jiffies);
                    let mut record = flow::attribute(&decoded, time, &self.node, engine.attribution());
                    nearest.complete(&mut record, &decoded, &engine, moment);
                    let record = Arc::new(record);
                    also(event, &record);
                    self.metrics.count(&record);
                    self.store.add(record);
                }
                Err(fault) => {
                    tracing::warn!(error = &fault as &dyn std::error::Error, "a record is left out")
                }
            }
        }
    }

    fn remember(
        &self,
        drained: &Drained,
        nearest: &mut Nearest,
        known: &mut HashMap<ToldKey, Arc<FlowRecord>>,
    ) {
        self.record(drained, nearest, |event, record| {
            known.insert(ToldKey::of(event), record.clone());
        });
    }

    /// One record for each connection.
    pub(super) fn tell_of(&self, lives: &[Life]) {
        let engine = self.shared.engine();
        for life in lives {
            let CtEntry { opened, last_seen, .. } = life.entry;
            let span = Span {
                opened: (opened != 0).then(|| self.shared.time_of(opened.into())),
                seen: self.shared.time_of(last_seen.into()),
            };
            self.take(flow::live(life, span, &self.node, engine.attribution()));
        }
    }

    /// One record for all that came after each of those that are `known`, and one for each pod that was too loud.
    fn sum_up(&self, untold: &Untold, known: &HashMap<ToldKey, Arc<FlowRecord>>) {
        let time = SystemTime::now();
        let engine = self.shared.engine();
        for (key, row) in &untold.repeated {
            let record = match known.get(key) {
                Some(record) => FlowRecord::clone(record),
                // Its event found no room in the ring.
                None => match flow::decode(&key.event()) {
                    Ok(decoded) => flow::attribute(&decoded, time, &self.node, engine.attribution()),
                    Err(fault) => {
                        tracing::warn!(error = &fault as &dyn std::error::Error, "a record is left out");
                        continue;
                    }
                },
            };
            self.take(record.repeated(time, row));
        }
        for (interface, row) in &untold.loud {
            self.take(flow::too_loud(*interface, time, &self.node, row, engine.attribution()));
        }
    }

    fn take(&self, record: FlowRecord) {
        self.metrics.count(&record);
        self.store.add(record);
    }
}
