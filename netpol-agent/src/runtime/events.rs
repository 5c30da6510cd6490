//! From the programs' rings to the store of records.

use std::{sync::Arc, time::Instant};

use super::{Shared, nearest::Nearest};
use crate::{
    dataplane::kernel::Ring,
    flow::{self, FlowMetrics, FlowStore},
};

/// Records taken from a ring at a time; between two handfuls the loop may write what it knows.
const HANDFUL: usize = 256;

/// Decodes what comes, gives it names and keeps it.
pub(super) async fn run(
    mut ring: Ring,
    shared: Shared,
    (store, metrics): (Arc<FlowStore>, Arc<FlowMetrics>),
    node: Arc<str>,
) {
    let mut nearest = Nearest::new(Instant::now());
    loop {
        let drained = ring.next(HANDFUL).await;
        if drained.foreign > 0 {
            tracing::warn!(records = drained.foreign, "records of a layout that is not this agent's");
        }
        let moment = (shared.epoch(), Instant::now());
        let engine = shared.engine();
        for event in &drained.events {
            match flow::decode(event) {
                Ok(decoded) => {
                    let time = shared.time_of(event.jiffies);
                    let mut record = flow::attribute(&decoded, time, &node, engine.attribution());
                    nearest.complete(&mut record, &decoded, &engine, moment);
                    metrics.count(&record);
                    store.add(record);
                }
                Err(fault) => {
                    tracing::warn!(error = &fault as &dyn std::error::Error, "a record is left out")
                }
            }
        }
    }
}
