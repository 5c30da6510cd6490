use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    task::block_in_place,
    time::{MissedTickBehavior, interval},
};

use super::{observation::Observation, tally::Tally};
use crate::{
    export::{FileOptions, RotatingFile},
    flow::{FlowMetrics, FlowRecord, FlowStore, Followed, Sink, Wanted},
};

/// Files that the limits are divided among: so fine can the oldest be let go.
const SEGMENTS: u32 = 10;
/// Lines that are written at a time.
const BATCH: usize = 64;
/// How long something new waits in memory.
const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// After so many of these, what has counted on is written too.
const FLUSHES_IN_A_PERIOD: u32 = 360;
/// Observations that are told apart in a period.
const CAPACITY: usize = 20_000;

/// Where observations are kept, and how many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryOptions {
    /// The folder; it is made if need be.
    pub folder: PathBuf,
    /// All files together have at most so many bytes.
    pub max_bytes: u64,
    /// What is older is let go.
    pub max_age: Duration,
}

/// Observations on disk: files of JSON lines, one observation each, in which one may stand several times.
#[derive(Debug)]
pub struct History {
    options: HistoryOptions,
    inner: Mutex<Inner>,
}

struct Inner {
    tally: Tally,
    file: RotatingFile,
    /// The last line in the file may be half of one.
    torn: bool,
    failing: bool,
}

/// What a look finds: files up to a length, and what is in memory only.
pub(super) struct Look {
    pub(super) files: Vec<io::Take<File>>,
    pub(super) pending: Vec<Observation>,
    pub(super) left_out: u64,
    pub(super) unreadable: Vec<String>,
}

impl History {
    /// Nothing is read or written yet.
    #[must_use]
    pub fn new(options: HistoryOptions) -> Self {
        Self::with_capacity(options, CAPACITY)
    }

    pub(super) fn with_capacity(options: HistoryOptions, capacity: usize) -> Self {
        let file = RotatingFile::new(FileOptions {
            path: options.folder.join("flows.jsonl"),
            max_bytes: options.max_bytes / u64::from(SEGMENTS),
            max_age: options.max_age / SEGMENTS,
            keep: SEGMENTS - 1,
        });
        let inner = Inner { tally: Tally::new(capacity), file, torn: true, failing: false };
        Self { options, inner: Mutex::new(inner) }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// Adds what a record tells of; says whether there was room.
    pub(super) fn take(&self, record: &FlowRecord) -> bool {
        Observation::of(record).is_none_or(|seen| self.lock().tally.take(seen))
    }

    /// Writes what is new, or `everything` that is not written; says how many lines. What a disk does not take stays in memory and is
    /// tried again.
    pub fn flush(&self, everything: bool) -> usize {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut due = inner.tally.drain(everything);
        let mut written = 0;
        let mut failure = None;
        while failure.is_none() && !due.is_empty() {
            let batch = due.split_off(due.len().saturating_sub(BATCH));
            match self.write(inner, &batch) {
                Ok(()) => written += batch.len(),
                Err(error) => {
                    due.extend(batch);
                    failure = Some(error);
                }
            }
        }
        inner.tally.put_back(due);
        match failure {
            Some(error) if !inner.failing => {
                tracing::error!(%error, folder = %self.folder().display(), "what pods do cannot be recorded; it is tried again");
                inner.failing = true;
            }
            None if inner.failing && written > 0 => {
                tracing::info!("what pods do is recorded again");
                inner.failing = false;
            }
            _ => {}
        }
        if everything {
            inner.tally.renew();
        }
        self.let_go();
        written
    }

    fn write(&self, inner: &mut Inner, batch: &[Observation]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.folder())?;
        let mut lines = Vec::new();
        if inner.torn {
            lines.push(b'\n');
        }
        for seen in batch {
            serde_json::to_writer(&mut lines, seen)?;
            lines.push(b'\n');
        }
        let result = inner.file.write(&lines);
        inner.torn = result.is_err();
        result
    }

    /// Removes files that nothing was written to for so long.
    fn let_go(&self) {
        for path in self.segments() {
            let written = fs::metadata(&path).and_then(|meta| meta.modified());
            let age = written.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
            if age.is_ok_and(|age| age > self.options.max_age)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(%error, path = %path.display(), "an old record of what pods did stays");
            }
        }
    }

    /// Every file that there may be, the oldest first.
    fn segments(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let newest = self.folder().join("flows.jsonl");
        let older = (1..SEGMENTS).rev().map({
            let newest = newest.clone();
            move |number| newest.with_extension(format!("jsonl.{number}"))
        });
        older.chain([newest])
    }

    /// Opens everything at one moment, so that what is read later is neither moved nor counted twice.
    pub(super) fn look(&self) -> Look {
        let inner = self.lock();
        let (mut files, mut unreadable) = (Vec::new(), Vec::new());
        for path in self.segments() {
            match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
                Ok((length, file)) => files.push(file.take(length)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => unreadable.push(format!("{}: {error}", path.display())),
            }
        }
        let pending = inner.tally.pending().cloned().collect();
        Look { files, pending, left_out: inner.tally.left_out(), unreadable }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("tally", &self.tally).finish_non_exhaustive()
    }
}

/// Wants everything that observations are made of.
struct Passing;

impl Wanted for Passing {
    fn wants(&self, record: &FlowRecord) -> bool {
        Observation::of(record).is_some()
    }
    fn wants_forwarded(&self) -> bool {
        true
    }
}

/// Records what comes until the future is dropped; without a history it waits for ever.
pub async fn keep(history: Option<Arc<History>>, records: Arc<FlowStore>, metrics: Arc<FlowMetrics>) {
    let Some(history) = history else { return std::future::pending().await };
    let mut follower = records.follow(Passing, 0);
    let mut ticks = interval(FLUSH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut flushes = 0;
    loop {
        tokio::select! {
            next = follower.next() => match next {
                Some(Followed::Record(record)) => {
                    if !history.take(&record) {
                        metrics.lost(Sink::Store, 1);
                    }
                }
                Some(Followed::Lost(count)) => metrics.lost(Sink::Store, count),
                Some(Followed::Missed(_)) => {}
                None => return,
            },
            _ = ticks.tick() => {
                flushes = (flushes + 1) % FLUSHES_IN_A_PERIOD;
                // A disk that hangs holds up this task alone.
                let written = block_in_place(|| history.flush(flushes == 0));
                metrics.exported(Sink::Store, written as u64);
            }
        }
    }
}
