use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Waits until the process is told to end (SIGTERM, SIGINT).
///
/// # Errors
/// If signals cannot be waited for.
pub fn stay() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
