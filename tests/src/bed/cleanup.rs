//! Beds are taken down when they go out of scope; this is for the cases where nothing goes out of scope any more.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process,
    sync::{Mutex, Once, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::dir;

static BEDS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static HANDLER: Once = Once::new();

fn beds() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    BEDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on the folder is removed when the process is told to end.
pub(super) fn register(path: &Path) {
    beds().insert(path.to_owned());
    HANDLER.call_once(|| {
        thread::Builder::new()
            .name("bed-cleanup".to_owned())
            .spawn(|| {
                if let Err(e) = end_on_signal() {
                    eprintln!("no clean-up on signals: {e:#}");
                }
            })
            .map_or_else(|e| eprintln!("no clean-up on signals: {e}"), drop);
    });
}

/// The folder is gone, or somebody else's.
pub(super) fn forget(path: &Path) {
    beds().remove(path);
}

fn end_on_signal() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("signal runtime")?;
    let number = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        anyhow::Ok(tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hangup.recv() => 1,
        })
    })?;
    // Held until the end, so that no bed comes into being meanwhile.
    let beds = beds();
    for path in beds.iter() {
        if let Err(e) = dir::remove(path) {
            eprintln!("{}: {e:#}", path.display());
        }
    }
    process::exit(128 + number)
}
