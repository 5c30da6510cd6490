//! What is to be said and when. Knows no client; the clock is the caller's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{RecorderOptions, Reports, ranking, report::Report};

/// So many events at once, and then one every [`PACE`].
const BURST: u32 = 25;
const PACE: Duration = Duration::from_secs(1);
/// After an attempt that failed, at first and after many.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(300);

/// What became of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// The event was written.
    Created,
    /// Somebody has written it before, or the object has changed or gone.
    Needless,
    /// The API server has not taken it.
    Failed,
}

impl Said {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Created, Self::Needless, Self::Failed];

    /// One word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Needless => "needless",
            Self::Failed => "failed",
        }
    }
}

/// How often each has happened. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<[AtomicU64; 3]>);

impl Counts {
    pub(super) fn count(&self, said: Said) {
        self.0[said as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// By what became of them.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u64); 3] {
        Said::ALL.map(|said| (said.name(), self.0[said as usize].load(Ordering::Relaxed)))
    }
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Say(Report),
    /// Nothing before this moment, or before something changes.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(super) struct Agenda {
    options: RecorderOptions,
    /// When each report is due.
    due: BTreeMap<Report, Instant>,
    /// Said, and still true.
    said: BTreeSet<Report>,
    /// When the next event could be written if all of the burst were used up: the bucket's level, as a time.
    free: Instant,
    retry: Option<(Instant, Duration)>,
}

impl Agenda {
    pub(super) fn new(options: RecorderOptions, now: Instant) -> Self {
        Self { options, due: BTreeMap::new(), said: BTreeSet::new(), free: now, retry: None }
    }

    /// This is all that is wrong now.
    pub(super) fn update(&mut self, Reports { reports, nodes }: &Reports, now: Instant) {
        let Self { options: RecorderOptions { node, turn }, due, said, .. } = self;
        said.retain(|report| reports.contains(report));
        due.retain(|report, _| reports.contains(report));
        for report in reports.iter().filter(|report| !said.contains(*report)) {
            if !due.contains_key(report)
                && let Some(delay) = ranking::delay(report, node, nodes, *turn)
            {
                due.insert(report.clone(), now + delay);
            }
        }
    }

    pub(super) fn next(&self, now: Instant) -> Next {
        let Some((report, due)) = self.due.iter().min_by_key(|(_, due)| **due) else {
            return Next::Wait(None);
        };
        let retry = self.retry.map(|(at, _)| at);
        // The bucket is empty once it is a whole burst ahead of the clock.
        let room = self.free.checked_sub(PACE * (BURST - 1));
        let at = [Some(*due), retry, room].into_iter().flatten().max().unwrap_or(*due);
        if at <= now { Next::Say(report.clone()) } else { Next::Wait(Some(at)) }
    }

    /// The report has been dealt with.
    pub(super) fn said(&mut self, report: &Report, now: Instant) {
        self.due.remove(report);
        self.said.insert(report.clone());
        self.retry = None;
        self.free = self.free.max(now) + PACE;
    }

    /// The server has not taken it. It is said later.
    pub(super) fn failed(&mut self, now: Instant) {
        let wait = self.retry.map_or(RETRY_FIRST, |(_, wait)| (wait * 2).min(RETRY_LAST));
        self.retry = Some((now + wait, wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Name, recorder::report::Scope};

    fn report(name: &str, generation: i64) -> Report {
        let object = Name::new("shop", name).of_kind("Pod");
        let (field, message) = (String::new(), String::new());
        Report { object, generation, field, reason: "NotPoliced", message, scope: Scope::Node }
    }

    fn reports(all: impl IntoIterator<Item = Report>) -> Reports {
        Reports { reports: all.into_iter().collect(), nodes: Vec::new() }
    }

    fn agenda() -> Agenda {
        let options = RecorderOptions { node: "n".into(), turn: Duration::from_secs(10) };
        Agenda::new(options, Instant::now())
    }

    #[test]
    fn what_is_wrong_is_said_once_until_it_is_mended_or_another_generation_has_it() {
        let mut agenda = agenda();
        let now = Instant::now();
        agenda.update(&reports([report("a", 1)]), now);
        assert_eq!(agenda.next(now), Next::Say(report("a", 1)));
        agenda.said(&report("a", 1), now);
        agenda.update(&reports([report("a", 1)]), now);
        assert_eq!(agenda.next(now), Next::Wait(None));
        agenda.update(&reports([report("a", 2)]), now);
        assert_eq!(agenda.next(now), Next::Say(report("a", 2)));
        agenda.update(&reports([]), now);
        assert_eq!(agenda.next(now), Next::Wait(None), "mended before it was said");
        agenda.update(&reports([report("a", 1)]), now);
        assert_eq!(agenda.next(now), Next::Say(report("a", 1)), "it has returned");
    }

    #[test]
    fn a_server_that_fails_is_asked_ever_more_seldom_and_nothing_is_lost() {
        let mut agenda = agenda();
        let start = Instant::now();
        agenda.update(&reports([report("a", 1)]), start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert!(matches!(agenda.next(now), Next::Say(_)));
            agenda.failed(now);
            let Next::Wait(Some(until)) = agenda.next(now) else { panic!("no wait") };
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        agenda.said(&report("a", 1), now);
        assert_eq!(agenda.next(now), Next::Wait(None));
    }

    #[test]
    fn a_thousand_at_once_come_out_one_a_second_behind_the_first() {
        let mut agenda = agenda();
        let start = Instant::now();
        agenda.update(&reports((0..1000).map(|i| report(&format!("p{i}"), 1))), start);
        let mut at_once = 0;
        while let Next::Say(report) = agenda.next(start) {
            agenda.said(&report, start);
            at_once += 1;
        }
        assert_eq!(at_once, BURST);
        let now = start + 10 * PACE;
        let mut later = 0;
        while let Next::Say(report) = agenda.next(now) {
            agenda.said(&report, now);
            later += 1;
        }
        assert_eq!(later, 10);
    }
}
