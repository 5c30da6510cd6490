//! Clients of a Service that never rest: new connections at a pace, and connections that are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use netpol_tests::{bed::Netns, serve::Reply};

/// A client that gets no answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at something that others do.
const LOOK: Duration = Duration::from_millis(2);

/// A connection that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) to: SocketAddr,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) error: io::ErrorKind,
    /// It had been answered before.
    pub(crate) established: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, began, ended, error, established } = self;
        let kind = if *established { "established" } else { "new" };
        write!(f, "{kind} connection to {to}: {error} after {:?}", ended.duration_since(*began))
    }
}

/// What the clients share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Somebody answers: whoever has lost its connection may open another one.
    up: AtomicBool,
    /// Pods that ask their clients to go elsewhere.
    draining: Mutex<BTreeSet<String>>,
    /// Kept connections, by pod.
    kept: Mutex<BTreeMap<String, usize>>,
    failures: Mutex<Vec<Failure>>,
    opened: AtomicUsize,
    exchanged: AtomicUsize,
    /// Rounds of each client that opens new connections.
    rounds: Mutex<Vec<usize>>,
    answered_by: Mutex<BTreeMap<String, usize>>,
}

/// All clients. They end when it is dropped or stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    /// Connections that were opened and answered.
    pub(crate) opened: usize,
    /// Answers over kept connections.
    pub(crate) exchanged: usize,
    pub(crate) failures: Vec<Failure>,
    /// New connections, by the pod that answered.
    pub(crate) answered_by: BTreeMap<String, usize>,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default(), threads: Vec::new() }
    }

    /// Opens a connection to `to` from within the namespace every `pace`, asks once, and closes it.
    pub(crate) fn open_every(&mut self, pace: Duration, from: Arc<Netns>, to: SocketAddr) {
        let shared = self.shared.clone();
        let number = {
            let mut rounds = lock(&shared.rounds);
            rounds.push(0);
            rounds.len() - 1
        };
        self.threads.push(thread::spawn(move || {
            from.enter(|| {
                let mut next = Instant::now();
                while !shared.stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match connect(to).and_then(|mut connection| connection.exchange()) {
                        Ok(pod) => {
                            shared.opened.fetch_add(1, Ordering::Relaxed);
                            *lock(&shared.answered_by).entry(pod).or_default() += 1;
                        }
                        Err(error) => shared.fail(to, began, false, &error),
                    }
                    lock(&shared.rounds)[number] += 1;
                    next += pace;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                Ok(())
            })
        }));
    }

    /// Keeps `count` connections to each of `to` from within the namespace, and asks over one after the other.
    pub(crate) fn keep(&mut self, count: usize, from: Arc<Netns>, to: Vec<SocketAddr>) {
        let shared = self.shared.clone();
        self.threads.push(thread::spawn(move || {
            from.enter(|| {
                let mut slots: Vec<Slot> =
                    to.iter().flat_map(|to| (0..count).map(|_| Slot { to: *to, open: None })).collect();
                while !shared.stop.load(Ordering::Relaxed) {
                    for slot in &mut slots {
                        slot.ask(&shared);
                    }
                    thread::sleep(LOOK);
                }
                slots.iter_mut().for_each(|slot| slot.close(&shared));
                Ok(())
            })
        }));
    }

    /// From now on somebody answers, or nobody does.
    pub(crate) fn set_up(&self, up: bool) -> Instant {
        self.shared.up.store(up, Ordering::Relaxed);
        Instant::now()
    }

    /// The pods ask their clients to go elsewhere; returns when the last has gone, and when all who were about to open a
    /// connection have done so.
    pub(crate) fn drain(&self, pods: &[&str]) -> Result<()> {
        lock(&self.shared.draining).extend(pods.iter().map(|pod| (*pod).to_owned()));
        self.until("kept connections are left", || {
            let kept = lock(&self.shared.kept);
            pods.iter().all(|pod| kept.get(*pod).is_none_or(|n| *n == 0))
        })?;
        self.pass()
    }

    /// Returns when each client has opened another connection from beginning to end.
    pub(crate) fn pass(&self) -> Result<()> {
        let before = lock(&self.shared.rounds).clone();
        self.until("a client does not go on", || {
            lock(&self.shared.rounds).iter().zip(&before).all(|(now, before)| *now >= before + 2)
        })
    }

    /// Returns when so many more connections have been opened and answered.
    pub(crate) fn await_opened(&self, more: usize) -> Result<()> {
        let enough = self.shared.opened.load(Ordering::Relaxed) + more;
        self.until("too few connections are opened", || self.shared.opened.load(Ordering::Relaxed) >= enough)
    }

    /// Returns when so many connections are kept.
    pub(crate) fn await_kept(&self, count: usize) -> Result<()> {
        self.until("not all connections are open", || {
            lock(&self.shared.kept).values().sum::<usize>() == count
        })
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + 6 * PATIENCE;
        while !done() {
            let shared = &self.shared;
            let kept = lock(&shared.kept).clone();
            ensure!(
                Instant::now() < deadline,
                "{what}: kept {kept:?}, failures {:?}",
                lock(&shared.failures)
            );
            thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(crate) fn stop(mut self) -> Result<Report> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_panic| anyhow!("a client has panicked"))??;
        }
        let shared = &self.shared;
        Ok(Report {
            opened: shared.opened.load(Ordering::Relaxed),
            exchanged: shared.exchanged.load(Ordering::Relaxed),
            failures: lock(&shared.failures).clone(),
            answered_by: lock(&shared.answered_by).clone(),
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn fail(&self, to: SocketAddr, began: Instant, established: bool, error: &io::Error) {
        let failure = Failure { to, began, ended: Instant::now(), error: error.kind(), established };
        lock(&self.failures).push(failure);
    }
}

/// A connection that is kept, or the place for one.
struct Slot {
    to: SocketAddr,
    open: Option<(Open, String)>,
}

impl Slot {
    fn ask(&mut self, shared: &Shared) {
        if self.open.is_none() && !shared.up.load(Ordering::Relaxed) {
            return;
        }
        let (began, established) = (Instant::now(), self.open.is_some());
        let connection = self.open.take().map_or_else(|| connect(self.to), |(connection, _)| Ok(connection));
        let asked = connection.and_then(|mut connection| Ok((connection.exchange()?, connection)));
        match asked {
            Ok((pod, connection)) => {
                if established {
                    shared.exchanged.fetch_add(1, Ordering::Relaxed);
                } else {
                    *lock(&shared.kept).entry(pod.clone()).or_default() += 1;
                }
                let leaves = lock(&shared.draining).contains(&pod);
                self.open = Some((connection, pod));
                if leaves {
                    self.close(shared);
                }
            }
            Err(error) => shared.fail(self.to, began, established, &error),
        }
    }

    fn close(&mut self, shared: &Shared) {
        if let Some((_, pod)) = self.open.take()
            && let Some(count) = lock(&shared.kept).get_mut(&pod)
        {
            *count -= 1;
        }
    }
}

struct Open(BufReader<TcpStream>);

fn connect(to: SocketAddr) -> io::Result<Open> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Open(BufReader::new(stream)))
}

impl Open {
    /// Asks once; who answers.
    fn exchange(&mut self) -> io::Result<String> {
        self.0.get_mut().write_all(b"who answers here\n")?;
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let reply: Reply = serde_json::from_str(&line)?;
        Ok(reply.pod)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Report {
    /// Failures from beginning to end within one of the spans of time.
    pub(crate) fn failures_within<'a>(
        &'a self,
        spans: &'a [(Instant, Instant)],
    ) -> impl Iterator<Item = &'a Failure> {
        let within = |failure: &&Failure| {
            spans.iter().any(|(from, to)| failure.began >= *from && failure.ended <= *to)
        };
        self.failures.iter().filter(within)
    }

    /// Says what happened, for the log of the test.
    pub(crate) fn summary(&self, took: Duration) -> Result<String> {
        let rate = self.opened as f64 / took.as_secs_f64();
        let pods = serde_json::to_string(&self.answered_by).context("names of pods")?;
        Ok(format!(
            "{} connections opened ({rate:.0} a second), {} answers over kept ones, by pod {pods}",
            self.opened, self.exchanged
        ))
    }
}
