//! Discovery as a thread of its own: an interface that comes up is closed whatever else the agent is busy with.

use std::{
    path::Path,
    thread::{self, JoinHandle},
    time::Duration,
};

use notify::{EventKind, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};

use super::{
    across::Across,
    discover::{Change, DiscoverError, Discovery, Settled, Unpoliced},
    links::Links,
    monitor::{Event, Monitor},
    netlink::NetlinkError,
    takeover::Start,
    uplinks::Uplinks,
};

/// How soon an attempt that failed is repeated, at first.
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// And after many of them.
const RETRY_LAST: Duration = Duration::from_secs(5);

/// How often it is made sure that nobody has taken programs away, of which the kernel does not tell where they are links, and that nothing
/// has come into the way of packets between nodes.
const VERIFY: Duration = Duration::from_millis(500);

/// How long connections may be older than the programs of a pod that ran before: most speak within that time, and then have
/// their entries.
const ADOPTION: Duration = Duration::from_secs(10 * 60);

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
    /// It is not there any more.
    #[error("discovery has ended")]
    Ended,
}

/// What discovery knows, and how to hear more.
pub(super) struct Started {
    /// The interfaces that are there.
    pub(super) known: Vec<Change>,
    /// What changes after that, in order. Dropping it ends discovery; the programs stay.
    pub(super) changes: UnboundedReceiver<Change>,
    pub(super) look: Look,
    pub(super) unpoliced: Unpoliced,
    pub(super) running: Running,
}

/// Discovery itself. Dropping it ends it, and returns once it puts nothing on an interface any more: whoever removes the
/// programs then finds nobody who puts them back.
pub(super) struct Running {
    let_in: UnboundedSender<std::sync::mpsc::Sender<Result<(), DiscoverError>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Has this agent's programs take the places of other versions', and waits for it.
    pub(super) fn let_in(&self) -> Result<(), WatchError> {
        let (done, wait) = std::sync::mpsc::channel();
        // Nobody takes what is asked: then nobody answers either.
        drop(self.let_in.send(done));
        wait.recv().map_or(Err(WatchError::Ended), |done| Ok(done?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("discovery has panicked");
        }
    }
}

/// Asks discovery to look now.
#[derive(Clone, Debug)]
pub struct Look(UnboundedSender<oneshot::Sender<()>>);

impl Look {
    /// And what answers its questions.
    pub(crate) fn channel() -> (Self, UnboundedReceiver<oneshot::Sender<()>>) {
        let (sender, looks) = mpsc::unbounded_channel();
        (Self(sender), looks)
    }

    /// Returns when every interface, namespace and address that was there at the time of the call has been acted on, and
    /// the changes sent; `false` if discovery has ended.
    pub async fn now(&self) -> bool {
        let (done, wait) = oneshot::channel();
        self.0.send(done).is_ok() && wait.await.is_ok()
    }
}

/// Closes every pod's interface that is there, and follows what comes and goes in the network namespace of the calling
/// thread.
pub(super) fn start(
    netns_dir: &Path,
    pins: &Path,
    links: Links,
    uplinks: (Uplinks, Across),
    start: Start,
) -> Result<Started, WatchError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WatchError::Thread)?;
    // Both subscriptions before the first look, so that nothing falls in between.
    let monitor = {
        let _within = runtime.enter();
        Monitor::open().map_err(DiscoverError::from)?
    };
    let mut discovery = Discovery::open(netns_dir, pins, links, uplinks, start)?;
    let (files, folder) = mpsc::unbounded_channel();
    let failed = |source| WatchError::Notify { path: netns_dir.into(), source };
    let mut watcher = notify::recommended_watcher(move |event| forward(event, &files)).map_err(failed)?;
    watcher.watch(netns_dir, RecursiveMode::NonRecursive).map_err(failed)?;
    let unpoliced = discovery.unpoliced();
    let (known, settled) = discovery.settle();
    let settled = settled? == Settled::Yes;
    let (sender, changes) = mpsc::unbounded_channel();
    let (look, looks) = Look::channel();
    let (stop, stopped) = oneshot::channel();
    let (let_in, entries) = mpsc::unbounded_channel();
    let follower = Follower { discovery, monitor, folder, looks, entries, sender, settled, stopped };
    let thread = thread::Builder::new()
        .name("discovery".into())
        .spawn(move || {
            runtime.block_on(follower.run());
            drop(watcher);
        })
        .map_err(WatchError::Thread)?;
    let running = Running { let_in, stop: Some(stop), thread: Some(thread) };
    Ok(Started { known, changes, look, unpoliced, running })
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

struct Follower {
    discovery: Discovery,
    monitor: Monitor,
    folder: UnboundedReceiver<()>,
    looks: UnboundedReceiver<oneshot::Sender<()>>,
    entries: UnboundedReceiver<std::sync::mpsc::Sender<Result<(), DiscoverError>>>,
    sender: UnboundedSender<Change>,
    settled: bool,
    stopped: oneshot::Receiver<()>,
}

impl Follower {
    /// Until nobody wants to know any more.
    async fn run(mut self) {
        let mut retry = RETRY_FIRST;
        let adoption = tokio::time::sleep(ADOPTION);
        tokio::pin!(adoption);
        let mut verify = tokio::time::interval(VERIFY);
        verify.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut asked = None;
            tokio::select! {
                events = self.monitor.next() => {
                    if events.is_err() {
                        // The socket may be broken for good.
                        tokio::time::sleep(retry).await;
                    }
                    self.note(events);
                }
                Some(()) = self.folder.recv() => self.discovery.note_namespaces(),
                Some(look) = self.looks.recv() => {
                    let events = self.monitor.pending();
                    self.note(events);
                    self.discovery.note_namespaces();
                    self.discovery.doubt_programs();
                    asked = Some(look);
                }
                Some(done) = self.entries.recv() => {
                    if done.send(self.discovery.let_in()).is_err() {
                        tracing::debug!("nobody waits for this version's programs any more");
                    }
                }
                _ = verify.tick() => self.discovery.doubt_programs(),
                () = tokio::time::sleep(retry), if !self.settled => {}
                () = &mut adoption, if !adoption.is_elapsed() => self.discovery.end_adoption(),
                () = self.sender.closed() => return,
                _ = &mut self.stopped => return,
            }
            let (changes, result) = self.discovery.settle();
            match result {
                Ok(Settled::Yes) => retry = RETRY_FIRST,
                Ok(Settled::NotYet) => {
                    if retry < RETRY_LAST && retry * 2 >= RETRY_LAST {
                        self.discovery.tell_unfinished();
                    }
                    retry = (retry * 2).min(RETRY_LAST);
                }
                Err(ref error) => {
                    tracing::warn!(error = error as &dyn std::error::Error, "discovery, will be tried again");
                    retry = (retry * 2).min(RETRY_LAST);
                }
            }
            self.settled = matches!(result, Ok(Settled::Yes));
            for change in changes {
                if self.sender.send(change).is_err() {
                    return;
                }
            }
            if asked.is_some_and(|asked: oneshot::Sender<()>| asked.send(()).is_err()) {
                tracing::trace!("whoever asked for a look did not wait for it");
            }
        }
    }

    fn note(&mut self, events: Result<Vec<Event>, NetlinkError>) {
        match events {
            Ok(events) => events.into_iter().for_each(|event| self.discovery.note(event)),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "notifications");
                self.discovery.note(Event::Lost);
            }
        }
    }
}
