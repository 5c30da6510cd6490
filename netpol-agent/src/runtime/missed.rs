use std::{sync::Arc, time::Duration};

use netpol_common::stats::Extra;
use tokio::time::{MissedTickBehavior, interval};

use super::agent::Agent;
use crate::flow::FlowStore;

/// How often it is looked; those who follow are told of all that was missed meanwhile at once.
const PERIOD: Duration = Duration::from_secs(1);

/// Tells the store of events that found the kernel's rings full.
pub(super) async fn run(agent: Arc<Agent>, store: Arc<FlowStore>) {
    let count = || {
        let counters = agent.counters();
        let of = |extra: Extra| counters.get(extra.index() as usize).map_or(0, |counter| counter.packets);
        of(Extra::LostDrops) + of(Extra::LostFlows)
    };
    let mut known = count();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = count();
        // A failed read counts nothing.
        if now > known {
            store.miss(now - known);
            known = now;
        }
    }
}
