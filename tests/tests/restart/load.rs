use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use netpol_tests::{
    bed::{Bed, Netns},
    probe::{Connection, Outcome, Protocol},
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

/// Connections that stay.
const STREAMS: usize = 50;
/// From one request of such a connection to the next.
const BREATH: Duration = Duration::from_millis(20);
/// From one new connection to the next: 500 a second.
const PACE: Duration = Duration::from_millis(2);
/// From one try of a stranger's to the next.
const TRIES: Duration = Duration::from_millis(20);
/// New connections that may be under way: on a busy machine they come later and are not lost.
const OPEN: usize = 256;
/// Longer than three repetitions of a first segment: whatever is answered later was stuck.
const PATIENCE: Duration = Duration::from_secs(15);
/// A stranger's connection is given up after so long.
const SILENCE: Duration = Duration::from_millis(500);

/// From one look at what has come of it to the next.
const POLL: Duration = Duration::from_millis(10);

/// Clients that go on all the time, and strangers that try to.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    strangers: bool,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

#[derive(Default)]
struct Seen {
    exchanges: AtomicUsize,
    opened: AtomicUsize,
    refused: AtomicUsize,
}

impl Seen {
    fn is_enough(&self, strangers: bool) -> bool {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        count(&self.exchanges) > Report::ENOUGH
            && count(&self.opened) > Report::ENOUGH
            && (!strangers || count(&self.refused) > Report::ENOUGH_STRANGERS)
    }
}

/// What has come of it.
#[derive(Debug)]
pub(crate) struct Report {
    /// Requests that connections which stay have had answered.
    pub(crate) exchanges: usize,
    /// New connections that were answered.
    pub(crate) opened: usize,
    /// Tries of strangers that nobody has answered.
    pub(crate) silent: usize,
    /// What should not have been.
    pub(crate) wrong: Vec<String>,
}

impl Report {
    /// Fewer exchanges or new connections prove little.
    pub(crate) const ENOUGH: usize = 1000;
    /// Fewer tries of strangers, where there are any, prove little.
    pub(crate) const ENOUGH_STRANGERS: usize = 100;
}

impl Load {
    /// `clients` may reach every one of `targets`, `strangers` none.
    pub(crate) fn start(bed: &Bed, clients: &[&str], strangers: &[&str], targets: &[SocketAddr]) -> Self {
        let netns = |pods: &[&str]| -> Vec<Arc<Netns>> {
            pods.iter().map(|pod| bed.pod(pod).unwrap().netns.clone()).collect()
        };
        let (clients, strangers) = (netns(clients), netns(strangers));
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let mut tasks = Vec::new();
        let _guard = bed.runtime().enter();
        for number in 0..STREAMS {
            let connection = connect(&clients[number % clients.len()], targets[number % targets.len()]);
            tasks.push(tokio::spawn(stay(connection, number, stop.clone(), seen.clone())));
        }
        let pairs = |from: &[Arc<Netns>]| {
            let pairs = from.iter().flat_map(|from| targets.iter().map(|to| (from.clone(), *to)));
            pairs.collect::<Vec<_>>()
        };
        tasks.push(tokio::spawn(come_and_go(pairs(&clients), stop.clone(), seen.clone())));
        if !strangers.is_empty() {
            tasks.push(tokio::spawn(knock(pairs(&strangers), stop.clone(), seen.clone())));
        }
        Self { stop, seen, strangers: !strangers.is_empty(), tasks }
    }

    /// Ends it, once there was enough of everything to prove something: what was done to the node may have taken no time.
    pub(crate) fn stop(self, bed: &Bed) -> Report {
        let deadline = Instant::now() + 2 * PATIENCE;
        let broken = || self.tasks.iter().any(JoinHandle::is_finished);
        while !self.seen.is_enough(self.strangers) && !broken() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        self.stop.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        for task in self.tasks {
            wrong.extend(bed.runtime().block_on(task).unwrap());
        }
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let Seen { exchanges, opened, refused } = &*self.seen;
        Report { exchanges: count(exchanges), opened: count(opened), silent: count(refused), wrong }
    }
}

fn connect(from: &Netns, to: SocketAddr) -> Connection {
    Connection::prepare(from, Protocol::Tcp, to).unwrap()
}

/// One connection, one request after another.
async fn stay(
    mut connection: Connection,
    number: usize,
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
) -> Vec<String> {
    let mut ticks = interval(BREATH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        match connection.exchange(17, PATIENCE).await {
            Outcome::Answered(_) => _ = seen.exchanges.fetch_add(1, Ordering::Relaxed),
            outcome => return vec![format!("connection {number}: {outcome:?}")],
        }
    }
    Vec::new()
}

/// New connections, each for one request.
async fn come_and_go(
    pairs: Vec<(Arc<Netns>, SocketAddr)>,
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
) -> Vec<String> {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut under_way, mut wrong) = (JoinSet::new(), Vec::new());
    for (from, to) in pairs.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        ticks.tick().await;
        while under_way.len() >= OPEN
            && let Some(ended) = under_way.join_next().await
        {
            wrong.extend(ended.unwrap_or_else(|e| Some(e.to_string())));
        }
        let (mut connection, to, seen) = (connect(from, *to), *to, seen.clone());
        under_way.spawn(async move {
            match connection.exchange(17, PATIENCE).await {
                Outcome::Answered(_) => {
                    seen.opened.fetch_add(1, Ordering::Relaxed);
                    None
                }
                outcome => {
                    Some(format!("a new connection from {} to {to}: {outcome:?}", connection.source()))
                }
            }
        });
    }
    while let Some(ended) = under_way.join_next().await {
        wrong.extend(ended.unwrap_or_else(|e| Some(e.to_string())));
    }
    wrong
}

/// Connections that nobody may answer.
async fn knock(pairs: Vec<(Arc<Netns>, SocketAddr)>, stop: Arc<AtomicBool>, seen: Arc<Seen>) -> Vec<String> {
    let mut ticks = interval(TRIES);
    let (mut under_way, mut wrong) = (JoinSet::new(), Vec::new());
    for (from, to) in pairs.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        ticks.tick().await;
        let (mut connection, to, seen) = (connect(from, *to), *to, seen.clone());
        under_way.spawn(async move {
            match connection.exchange(17, SILENCE).await {
                Outcome::Silent => {
                    seen.refused.fetch_add(1, Ordering::Relaxed);
                    None
                }
                outcome => Some(format!("a stranger at {} to {to}: {outcome:?}", connection.source())),
            }
        });
        while let Some(ended) = under_way.try_join_next() {
            wrong.extend(ended.unwrap_or_else(|e| Some(e.to_string())));
        }
    }
    while let Some(ended) = under_way.join_next().await {
        wrong.extend(ended.unwrap_or_else(|e| Some(e.to_string())));
    }
    wrong
}
