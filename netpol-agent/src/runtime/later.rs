//! What is left of a plan when everything that is wanted is in force: it waits for packets, and nothing waits for it.

use std::time::Duration;

use tokio::{
    task::{JoinError, JoinHandle, spawn_blocking},
    time::Instant,
};

use crate::dataplane::{Error, Grace, Op};

/// What nothing names stays no longer than about this, however much changes meanwhile.
const LONGEST: Duration = Duration::from_secs(1);

/// What is left, put off until a grace period is over that runs beside the loop (`docs/adr/0149-grace-periods-beside-the-loop.md`).
#[derive(Debug, Default)]
pub(super) struct Later(Option<Rest>);

#[derive(Debug)]
struct Rest {
    /// The first one is [`Op::AwaitGrace`].
    ops: Vec<Op>,
    /// Since when something has been put off.
    since: Instant,
    /// The grace period that runs began after all that it has to outlast.
    outlasts: bool,
    running: JoinHandle<Result<(), Error>>,
}

impl Later {
    /// Puts off what is left of a plan, `alone` if the plan had nothing else; `false` if that has been done for long enough.
    pub(super) fn put_off(
        &mut self,
        ops: &[Op],
        alone: bool,
        now: Instant,
        grace: impl FnOnce() -> Grace,
    ) -> bool {
        match &mut self.0 {
            None => self.begin(ops.to_vec(), now, grace()),
            Some(rest) if now.saturating_duration_since(rest.since) >= LONGEST => return false,
            Some(rest) if alone && rest.ops == ops => {}
            Some(rest) => {
                rest.ops = ops.to_vec();
                rest.outlasts = false;
            }
        }
        true
    }

    /// Nothing is left.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Returns when a grace period is over; never if none runs. What is returned goes to [`Later::due`]. May be dropped before and called
    /// again.
    pub(super) async fn over(&mut self) -> Result<Result<(), Error>, JoinError> {
        match &mut self.0 {
            Some(rest) => (&mut rest.running).await,
            None => std::future::pending().await,
        }
    }

    /// What can be carried out now that a grace period is over, the [`Op::AwaitGrace`] in front included. `None` if something else was carried
    /// out since it began: then another one begins.
    pub(super) fn due(
        &mut self,
        ended: Result<Result<(), Error>, JoinError>,
        grace: impl FnOnce() -> Grace,
    ) -> Result<Option<Vec<Op>>, Error> {
        let Some(Rest { ops, since, outlasts, .. }) = self.0.take() else { return Ok(None) };
        let panicked = |error| Error { call: "waiting", map: "a thread".to_owned(), source: Box::new(error) };
        ended.map_err(panicked)??;
        if outlasts {
            return Ok(Some(ops));
        }
        self.begin(ops, since, grace());
        Ok(None)
    }

    fn begin(&mut self, ops: Vec<Op>, since: Instant, grace: Grace) {
        self.0 = Some(Rest { ops, since, outlasts: true, running: spawn_blocking(grace) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grace() -> Grace {
        Box::new(|| Ok(()))
    }

    fn now() -> Instant {
        Instant::now()
    }

    #[tokio::test]
    async fn what_was_left_when_a_grace_period_began_is_due_when_it_is_over() {
        let mut later = Later::default();
        assert!(later.put_off(&[Op::AwaitGrace, Op::DeleteEndpoint(1)], false, now(), grace));
        assert!(
            later.put_off(&[Op::AwaitGrace, Op::DeleteEndpoint(1)], true, now(), grace),
            "the same plan once more"
        );
        let ended = later.over().await;
        let due = later.due(ended, grace).unwrap();
        assert_eq!(due, Some(vec![Op::AwaitGrace, Op::DeleteEndpoint(1)]));
    }

    #[tokio::test]
    async fn what_comes_while_a_grace_period_runs_waits_for_the_next_one() {
        for (second, alone) in [(2, true), (1, false)] {
            let mut later = Later::default();
            assert!(later.put_off(&[Op::AwaitGrace, Op::DeleteEndpoint(1)], false, now(), grace));
            assert!(later.put_off(&[Op::AwaitGrace, Op::DeleteEndpoint(second)], alone, now(), grace));
            let ended = later.over().await;
            assert_eq!(later.due(ended, grace).unwrap(), None);
            let ended = later.over().await;
            let due = later.due(ended, grace).unwrap();
            assert_eq!(due, Some(vec![Op::AwaitGrace, Op::DeleteEndpoint(second)]));
        }
    }

    #[tokio::test]
    async fn nothing_is_put_off_for_ever() {
        let (mut later, begin) = (Later::default(), now());
        assert!(later.put_off(&[Op::AwaitGrace], false, begin, grace));
        assert!(later.put_off(&[Op::AwaitGrace], false, begin + LONGEST / 2, grace));
        let ended = later.over().await;
        assert_eq!(later.due(ended, grace).unwrap(), None);
        assert!(!later.put_off(&[Op::AwaitGrace], false, begin + LONGEST, grace));
        later.clear();
        assert!(later.put_off(&[Op::AwaitGrace], false, begin + LONGEST, grace));
    }

    #[tokio::test]
    async fn a_grace_period_that_was_not_awaited_makes_nothing_due() {
        let mut later = Later::default();
        let fails: Grace =
            Box::new(|| Err(Error { call: "wait", map: "any".into(), source: "refused".into() }));
        assert!(later.put_off(&[Op::AwaitGrace, Op::DeleteEndpoint(1)], false, now(), || fails));
        let ended = later.over().await;
        assert!(later.due(ended, grace).is_err());
    }
}
