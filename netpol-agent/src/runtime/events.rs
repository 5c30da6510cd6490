//! From the programs' rings to the store of records.

use std::sync::Arc;

use super::Shared;
use crate::{
    dataplane::kernel::Ring,
    flow::{self, FlowStore},
};

/// Records taken from a ring at a time; between two handfuls the loop may write what it knows.
const HANDFUL: usize = 256;

/// Decodes what comes, gives it names and keeps it.
pub(super) async fn run(mut ring: Ring, shared: Shared, store: Arc<FlowStore>, node: Arc<str>) {
    loop {
        let drained = ring.next(HANDFUL).await;
        if drained.foreign > 0 {
            tracing::warn!(records = drained.foreign, "records of a layout that is not this agent's");
        }
        let engine = shared.engine();
        for event in &drained.events {
            match flow::decode(event) {
                Ok(decoded) => {
                    let time = shared.time_of(event.jiffies);
                    store.add(flow::attribute(&decoded, time, &node, engine.attribution()));
                }
                Err(fault) => {
                    tracing::warn!(error = &fault as &dyn std::error::Error, "a record is left out")
                }
            }
        }
    }
}
