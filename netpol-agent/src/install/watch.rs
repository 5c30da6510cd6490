use std::{sync::mpsc, time::Duration};

use notify::{EventKind, RecursiveMode, Watcher};

use super::{Done, Install, InstallError, install};

/// Others write several files one after the other.
const PACE: Duration = Duration::from_millis(200);
/// How soon it is tried again what did not work.
const RETRY: Duration = Duration::from_secs(5);

/// Installs the plugin, and again whenever the configuration is written anew, as the cluster's CNI plugin does when it is upgraded.
/// Runs until the process ends, and leaves the plugin installed then: a node without an agent starts no pods.
///
/// # Errors
/// If the folder cannot be watched. What is wrong with a configuration is told, and looked at again when it changes.
pub fn follow(what: &Install) -> Result<(), InstallError> {
    let failed = |source| InstallError::Watch { path: what.conf_dir.clone(), source };
    let (sender, events) = mpsc::channel();
    let forward = move |event: notify::Result<notify::Event>| {
        // Reading a file is an event too, and that is what a look does.
        let matters = event.as_ref().map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
        if matters && sender.send(event).is_err() {
            tracing::debug!("nobody follows any more");
        }
    };
    let mut watcher = notify::recommended_watcher(forward).map_err(failed)?;
    // Before the first look, so that nothing falls in between.
    watcher.watch(&what.conf_dir, RecursiveMode::NonRecursive).map_err(failed)?;
    let mut told = String::new();
    loop {
        let patience = match install(what) {
            Ok(done) => {
                if done == Done::Changed {
                    tracing::info!(folder = %what.conf_dir.display(), "the plugin is installed");
                }
                told.clear();
                None
            }
            Err(error) => {
                let line = error.to_string();
                if line != told {
                    tracing::error!(error = &error as &dyn std::error::Error, "the plugin is not installed");
                    told = line;
                }
                Some(RETRY)
            }
        };
        let heard = match patience {
            Some(patience) => match events.recv_timeout(patience) {
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(event) => event,
            },
            None => match events.recv() {
                Err(mpsc::RecvError) => return Ok(()),
                Ok(event) => event,
            },
        };
        if let Err(error) = heard {
            tracing::warn!(%error, "watching the folder");
        }
        // What comes in one go is one look's.
        while events.recv_timeout(PACE).is_ok() {}
    }
}
