//! How long to wait before the server is asked again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(30);

/// Doubles from a tenth of a second to half a minute. Each wait is shortened by up to half, at random, so that the nodes of a
/// cluster do not all ask at the same moment.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.0 = (self.0 * 2).min(LAST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute_and_start_again() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= FIRST);
        let longest = (0..40).map(|_| backoff.next()).max().unwrap();
        assert!(longest > LAST / 2 && longest <= LAST, "{longest:?}");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
