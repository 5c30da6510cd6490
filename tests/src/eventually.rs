use std::{
    thread,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(5);

/// Waits for a condition that nothing announces.
///
/// # Panics
/// If it does not hold within `patience`.
#[track_caller]
pub fn eventually(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        thread::sleep(POLL);
    }
}
