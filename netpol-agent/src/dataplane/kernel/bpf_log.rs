//! What the programs log, in builds for debugging.

use std::{thread, time::Duration};

use aya_log::EbpfLogger;

use super::Object;

/// How often the programs' log is looked into.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Forwards it to the agent's log, for as long as the process lives. An object that was built without logging is no reason
/// not to run.
pub(super) fn forward(object: &mut Object) {
    let mut logger = match EbpfLogger::init(object.ebpf_mut()) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "the programs do not log: build with `cargo xtask build --log`");
            return;
        }
    };
    let started = thread::Builder::new().name("bpf-log".into()).spawn(move || {
        loop {
            logger.flush();
            thread::sleep(LOOK_EVERY);
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "the programs' log is not read");
    }
}
