//! Whether the loop moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Beaten by the loop while it has something to do, felt by whoever asks whether it lives. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    origin: Instant,
    /// Milliseconds from the origin to the last beat, and one; 0: the loop waits for something to do.
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { origin: Instant::now(), last: Arc::default() }
    }
}

impl Pulse {
    /// The loop has begun or done something.
    pub(super) fn beat(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// Nothing is left to do.
    pub(super) fn rest(&self) {
        self.last.store(0, Ordering::Relaxed);
    }

    /// For how long the loop has been at one thing; nothing while it rests.
    pub(super) fn still_for(&self) -> Duration {
        match self.last.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            last => self.origin.elapsed().saturating_sub(Duration::from_millis(last - 1)),
        }
    }

    /// As if the last beat had been so long ago.
    #[cfg(test)]
    pub(super) fn stopped_for(&self, time: Duration) -> Self {
        let origin = self.origin.checked_sub(time).expect("a machine that has been up for so long");
        self.last.store(1, Ordering::Relaxed);
        Self { origin, last: self.last.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_rests_is_never_still() {
        let pulse = Pulse::default();
        assert_eq!(pulse.still_for(), Duration::ZERO);
        assert!(pulse.stopped_for(Duration::from_secs(9)).still_for() >= Duration::from_secs(9));
        pulse.beat();
        assert!(pulse.still_for() < Duration::from_secs(9));
        pulse.rest();
        assert_eq!(pulse.still_for(), Duration::ZERO);
    }
}
