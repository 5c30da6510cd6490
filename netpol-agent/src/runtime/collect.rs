//! Removing old connections, a slice at a time.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{task::block_in_place, time::sleep};

use super::events::{HANDFUL, Recorder};
use crate::dataplane::kernel::{Clock, Conntrack, Life, Progress};

/// From the end of one walk through the tables to the beginning of the next.
const PAUSE: Duration = Duration::from_secs(5);
/// The same, while connections find no room.
const SHORT_PAUSE: Duration = Duration::from_millis(500);
/// Between two slices of a walk: other tasks come first.
const BREATH: Duration = Duration::from_millis(5);
/// What a slice has found is told of within this time, even to those who are too slow for it: connections that follow have to go as well.
const TELLING: Duration = Duration::from_millis(250);
/// At first, until the length of a jiffy is known.
const CALIBRATION: Duration = Duration::from_millis(100);

/// Walks through the connection tables again and again.
pub(super) async fn run(recorder: Recorder, mut conntrack: Conntrack, mut clock: Clock) {
    let shared = recorder.shared.clone();
    // How much room there is, is known before anything has been counted.
    shared.update(|status| status.connections = conntrack.fill());
    let started = Instant::now();
    let mut was_short = false;
    loop {
        let now = match clock.now(started.elapsed()) {
            Ok(Some(now)) => now,
            Ok(None) => {
                sleep(CALIBRATION).await;
                continue;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "reading the kernel's clock");
                sleep(PAUSE).await;
                continue;
            }
        };
        shared.update(|status| status.moment = Some((now, SystemTime::now())));
        let walked = block_in_place(|| conntrack.slice(now));
        tell(&recorder, &conntrack.take_lives()).await;
        match walked {
            Ok(Progress::Underway) => sleep(BREATH).await,
            Ok(Progress::Finished { short }) => {
                let (connections, filled) = (conntrack.fill(), Arc::new(conntrack.filled().clone()));
                shared.update(|status| (status.connections, status.filled) = (connections, filled));
                if short && !was_short {
                    tracing::warn!(
                        "connections find no room in the connection table, or in their pod's quota"
                    );
                }
                was_short = short;
                sleep(if short { SHORT_PAUSE } else { PAUSE }).await;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "removing old connections");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Thousands of connections may end at a time, more than followers may lag behind.
async fn tell(recorder: &Recorder, lives: &[Life]) {
    let deadline = Instant::now() + TELLING;
    let mut in_time = true;
    for handful in lives.chunks(HANDFUL) {
        in_time = in_time && recorder.store.catch_up(deadline).await;
        recorder.tell_of(handful);
    }
}
