//! A folder of manifests, watched.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::{mpsc, oneshot},
    task,
    time::{Instant, sleep_until},
};

use super::{SourceEvent, reader::Reader, signal::Signal};

/// Everything is looked at this often without any event: files behind symbolic links that lead out of the folder, and
/// file systems without events.
const REGULARLY: Duration = Duration::from_secs(5);

/// A folder of manifests.
#[derive(Debug)]
pub struct DirSource {
    root: PathBuf,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    requester: mpsc::Sender<oneshot::Sender<()>>,
}

/// Asks a running [`DirSource`] to look now.
#[derive(Clone, Debug)]
pub struct Rescan(Option<mpsc::Sender<oneshot::Sender<()>>>);

/// Why a folder cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read at the start.
    #[error("--source dir:{}", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The task that reads files has panicked.
    #[error("reading the folder of manifests")]
    Panicked(#[from] task::JoinError),
}

impl DirSource {
    /// The folder at `path`, which must be there.
    ///
    /// # Errors
    /// If it is no folder that can be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        if let Err(source) = fs::read_dir(&path) {
            return Err(Error::Unreadable { path, source });
        }
        let (requester, requests) = mpsc::channel(16);
        Ok(Self { root: path, requests, requester })
    }

    /// A handle that has the folder looked at at once, for whoever cannot wait for the kernel's events.
    #[must_use]
    pub fn rescan(&self) -> Rescan {
        Rescan(Some(self.requester.clone()))
    }

    /// Sends everything that is there, then [`SourceEvent::Synced`], then every change, until the receiver is gone.
    ///
    /// # Errors
    /// If reading panics. A folder or file that cannot be read is reported as a problem instead, and what it held stays
    /// in force.
    pub async fn run(mut self, events: mpsc::Sender<Vec<SourceEvent>>) -> Result<(), Error> {
        let signal = Arc::new(Signal::default());
        // Before the first look, so that nothing falls in between.
        let mut watch = Watch::start(&self.root, &signal);
        let mut reader = Reader::new(self.root.clone());
        let mut synced = false;
        let mut asked: Option<oneshot::Sender<()>> = None;
        // Whether it is known from events alone where to look.
        let mut told = false;
        loop {
            let scope = signal.take(told);
            let mut batch;
            (reader, batch) = task::spawn_blocking(move || {
                let batch = reader.look(&scope);
                (reader, batch)
            })
            .await?;
            if !synced {
                batch.push(SourceEvent::Synced);
                synced = true;
            }
            if !batch.is_empty() && events.send(batch).await.is_err() {
                return Ok(());
            }
            if asked.take().is_some_and(|asked| asked.send(()).is_err()) {
                tracing::trace!("whoever asked for a look at the folder did not wait for it");
            }
            told = false;
            tokio::select! {
                () = signal.settled() => told = true,
                () = sleep_until(Instant::now() + REGULARLY) => {
                    if !watch.still_watches(&self.root) {
                        watch = Watch::start(&self.root, &signal);
                    }
                }
                Some(request) = self.requests.recv() => asked = Some(request),
                () = events.closed() => return Ok(()),
            }
        }
    }
}

impl Rescan {
    /// For a source that needs nobody to look.
    pub(super) const fn needless() -> Self {
        Self(None)
    }

    /// Returns when everything that lay in the folder at the time of the call has been sent to the receiver of the
    /// source's events; `false` if the source has ended.
    pub async fn now(&self) -> bool {
        let Some(requester) = &self.0 else { return true };
        let (done, wait) = oneshot::channel();
        requester.send(done).await.is_ok() && wait.await.is_ok()
    }
}

/// The kernel's watch on a folder, if it grants one.
struct Watch {
    watcher: Option<RecommendedWatcher>,
    root: Option<(u64, u64)>,
}

impl Watch {
    fn start(root: &Path, signal: &Arc<Signal>) -> Self {
        let id = identity(root);
        let signal = signal.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) => signal.add(event),
            Err(e) => {
                tracing::debug!(error = %e, "event of the manifest folder");
                signal.lost();
            }
        });
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = watcher
            .inspect_err(|e| {
                tracing::warn!(
                    folder = %root.display(),
                    error = %e,
                    "no events for the manifest folder; it is looked at every {REGULARLY:?} instead"
                );
            })
            .ok();
        Self { watcher, root: id }
    }

    /// Whether events come, and from the folder that has the name now.
    fn still_watches(&self, root: &Path) -> bool {
        self.watcher.is_some() && self.root == identity(root)
    }
}

fn identity(root: &Path) -> Option<(u64, u64)> {
    fs::metadata(root).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
