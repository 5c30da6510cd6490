//! Discovery as a thread of its own: an interface that comes up is closed whatever else the agent is busy with.

use std::{path::Path, thread, time::Duration};

use notify::{EventKind, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{
    discover::{Change, DiscoverError, Discovery, Settled},
    links::Links,
    monitor::Monitor,
};

/// How soon an attempt that failed is repeated, at first.
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// And after many of them.
const RETRY_LAST: Duration = Duration::from_secs(5);

/// Discovery cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The first look around failed.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The folder of namespaces cannot be watched.
    #[error("{path}: cannot watch the directory")]
    Notify {
        /// The folder.
        path: std::path::PathBuf,
        /// What the kernel said.
        #[source]
        source: notify::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// Closes every pod's interface that is there, and follows what comes and goes in the network namespace of the calling
/// thread. The changes that are already known are returned, the others arrive in the channel, in order; dropping the
/// receiver ends discovery. The programs stay.
pub(super) fn start(
    netns_dir: &Path,
    pins: &Path,
    links: Links,
) -> Result<(Vec<Change>, UnboundedReceiver<Change>), WatchError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WatchError::Thread)?;
    // Both subscriptions before the first look, so that nothing falls in between.
    let monitor = {
        let _within = runtime.enter();
        Monitor::open().map_err(DiscoverError::from)?
    };
    let mut discovery = Discovery::open(netns_dir, pins, links)?;
    let (files, folder) = mpsc::unbounded_channel();
    let failed = |source| WatchError::Notify { path: netns_dir.into(), source };
    let mut watcher = notify::recommended_watcher(move |event| forward(event, &files)).map_err(failed)?;
    watcher.watch(netns_dir, RecursiveMode::NonRecursive).map_err(failed)?;
    let (known, settled) = discovery.settle();
    let settled = settled? == Settled::Yes;
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::Builder::new()
        .name("discovery".into())
        .spawn(move || {
            runtime.block_on(follow(discovery, monitor, folder, sender, settled));
            drop(watcher);
        })
        .map_err(WatchError::Thread)?;
    Ok((known, receiver))
}

fn forward(event: notify::Result<notify::Event>, files: &UnboundedSender<()>) {
    let matters = match event {
        // Opening a file is an event too, and that is what a scan does.
        Ok(event) => {
            event.need_rescan()
                || matches!(
                    event.kind,
                    EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
                )
        }
        Err(error) => {
            tracing::warn!(%error, "watching the namespaces' folder");
            true
        }
    };
    if matters && files.send(()).is_err() {
        tracing::debug!("discovery has ended");
    }
}

async fn follow(
    mut discovery: Discovery,
    mut monitor: Monitor,
    mut folder: UnboundedReceiver<()>,
    sender: UnboundedSender<Change>,
    mut settled: bool,
) {
    let mut retry = RETRY_FIRST;
    loop {
        tokio::select! {
            events = monitor.next() => match events {
                Ok(events) => events.into_iter().for_each(|event| discovery.note(event)),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "notifications");
                    discovery.note(super::monitor::Event::Lost);
                    tokio::time::sleep(retry).await;
                }
            },
            Some(()) = folder.recv() => discovery.note_namespaces(),
            () = tokio::time::sleep(retry), if !settled => retry = (retry * 2).min(RETRY_LAST),
            () = sender.closed() => return,
        }
        let (changes, result) = discovery.settle();
        settled = match result {
            Ok(Settled::Yes) => {
                retry = RETRY_FIRST;
                true
            }
            Ok(Settled::NotYet) => false,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "discovery, will be tried again");
                false
            }
        };
        for change in changes {
            if sender.send(change).is_err() {
                return;
            }
        }
    }
}
