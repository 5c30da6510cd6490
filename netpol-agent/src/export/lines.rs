use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::{task::block_in_place, time::sleep};

use super::file::RotatingFile;
use crate::flow::{FlowMetrics, Followed, Follower, Sink};

/// Records that are written at a time.
const BATCH: usize = 256;
/// After a failure; records that come meanwhile wait in the follower, or are lost there.
const PAUSE: Duration = Duration::from_secs(1);

/// Where lines go.
pub(super) enum Target {
    File(RotatingFile),
    Stdout,
}

impl Target {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(lines),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
        }
    }
}

/// Writes one line for each record, and one for what is missing.
pub(super) async fn run(mut follower: Follower, mut target: Target, sink: Sink, metrics: Arc<FlowMetrics>) {
    let mut failing = false;
    // What could not be written is told as soon as something can.
    let mut unwritten = 0;
    while let Some(first) = follower.next().await {
        let mut lines = Vec::new();
        let mut records = 0;
        if unwritten > 0 {
            push(&mut lines, &json!({ "lost": unwritten }));
        }
        let mut lost = 0;
        let mut next = Some(first);
        while let Some(followed) = next {
            match followed {
                Followed::Record(record) => {
                    push(&mut lines, &*record);
                    records += 1;
                }
                Followed::Lost(count) => {
                    lost += count;
                    push(&mut lines, &json!({ "lost": count }));
                }
                Followed::Missed(count) => push(&mut lines, &json!({ "missed": count })),
            }
            next = if records < BATCH { follower.ready() } else { None };
        }
        metrics.lost(sink, lost);
        // A disk that hangs holds up this task alone.
        match block_in_place(|| target.write(&lines)) {
            Ok(()) => {
                metrics.exported(sink, records as u64);
                if failing {
                    tracing::info!(sink = sink.name(), lost = unwritten, "flow records are written again");
                }
                (failing, unwritten) = (false, 0);
            }
            Err(error) => {
                if !failing {
                    tracing::error!(sink = sink.name(), %error, "flow records cannot be written; it is tried again");
                }
                failing = true;
                unwritten += records as u64 + lost;
                metrics.lost(sink, records as u64);
                sleep(PAUSE).await;
            }
        }
    }
}

fn push(lines: &mut Vec<u8>, value: &impl serde::Serialize) {
    match serde_json::to_writer(&mut *lines, value) {
        Ok(()) => lines.push(b'\n'),
        Err(error) => tracing::error!(%error, "a flow record cannot be written as JSON"),
    }
}
