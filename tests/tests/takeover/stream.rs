use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use netpol_tests::{
    bed::Bed,
    probe::{Connection, MIN_SIZE, Outcome, Protocol},
};
use tokio::{runtime::Handle, task::JoinHandle, time::sleep};

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(5);
/// After which a datagram's answer is not coming any more. TCP's does: it repeats.
const LOST: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(5);

/// Question and answer, one after the other, over one connection.
pub(crate) struct Stream {
    runtime: Handle,
    task: JoinHandle<Result<(), String>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    answered: AtomicUsize,
    lost: AtomicUsize,
}

impl Stream {
    pub(crate) fn start(bed: &Bed, from: &str, to: SocketAddr, protocol: Protocol) -> Self {
        let runtime = bed.runtime().clone();
        let _guard = runtime.enter();
        let mut connection = Connection::prepare(&bed.pod(from).unwrap().netns, protocol, to).unwrap();
        let state = Arc::new(State::default());
        let task = runtime.spawn({
            let state = state.clone();
            async move {
                while !state.stop.load(Ordering::Relaxed) {
                    match connection.exchange(MIN_SIZE, LOST).await {
                        Outcome::Answered(_) => state.answered.fetch_add(1, Ordering::Relaxed),
                        Outcome::Silent => state.lost.fetch_add(1, Ordering::Relaxed),
                        outcome => return Err(format!("{outcome:?}")),
                    };
                    sleep(PAUSE).await;
                }
                Ok(())
            }
        });
        Self { runtime: runtime.clone(), task, state }
    }

    /// Waits for so many more answers.
    #[track_caller]
    pub(crate) fn await_answers(&self, more: usize, patience: Duration, name: &str) {
        let wanted = self.state.answered.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + patience;
        while self.state.answered.load(Ordering::Relaxed) < wanted {
            assert!(!self.task.is_finished(), "{name} has ended");
            assert!(Instant::now() < deadline, "{name}: no {more} answers within {patience:?}");
            std::thread::sleep(POLL);
        }
    }

    /// Answers so far. What has ended by itself (a reset) has not fallen silent.
    #[track_caller]
    pub(crate) fn answers(&self, name: &str) -> usize {
        assert!(!self.task.is_finished(), "{name} has ended");
        self.state.answered.load(Ordering::Relaxed)
    }

    /// How many questions were not answered, or what ended it before.
    pub(crate) fn stop(self) -> Result<usize, String> {
        self.state.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.task).map_err(|error| error.to_string())??;
        Ok(self.state.lost.load(Ordering::Relaxed))
    }
}
