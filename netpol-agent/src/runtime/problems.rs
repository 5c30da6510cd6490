//! Every problem stands in the log once: when it appears.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};

use super::{Shared, pending::Pending};
use crate::{
    model::{Level, ObjectRef, Problem},
    recorder::{Report, Reports},
};

/// Putting all problems together takes time in proportion to what is wrong: not more often than this.
const PACE: Duration = Duration::from_millis(250);

/// Looks whenever the loop has acted on something, and when a pod has been pending for too long.
/// `reports` is told all of it each time.
pub(super) async fn run(shared: Shared, pending_deadline: Duration, reports: watch::Sender<Arc<Reports>>) {
    let mut known = BTreeSet::new();
    let mut pending = Pending::new(pending_deadline);
    let mut next: Option<Instant> = None;
    loop {
        match next {
            Some(due) => tokio::select! {
                () = shared.settled() => {}
                () = sleep_until(due.into()) => {}
            },
            None => shared.settled().await,
        }
        let overdue = pending.look(&shared.endpoints(), Instant::now());
        next = overdue.next;
        shared.update(|status| status.overdue = overdue.problems);
        // Nothing is known of objects yet.
        if !shared.status().synced {
            continue;
        }
        let all: BTreeSet<Problem> = shared.problems().into_iter().collect();
        shared.update(|status| status.counts = count(&all));
        publish(&shared, &all, &reports);
        for problem in news(&mut known, all) {
            match problem.level {
                Level::Error => tracing::warn!("{problem}"),
                Level::Note => tracing::info!("{problem}"),
            }
        }
        sleep(PACE).await;
    }
}

/// For who writes Kubernetes Events, who may be slow or not there.
fn publish(shared: &Shared, all: &BTreeSet<Problem>, reports: &watch::Sender<Arc<Reports>>) {
    if reports.receiver_count() == 0 {
        return;
    }
    let refusals = shared.status().refusals;
    let engine = shared.engine();
    let generation = |object: &ObjectRef| engine.generation(object);
    let of_problem = |problem: &Problem| {
        let generation = problem.object.as_ref().map_or(0, generation);
        Report::of_problem(problem, generation)
    };
    let mut found: BTreeSet<Report> = all.iter().filter_map(of_problem).collect();
    found.extend(refusals.iter().filter_map(|refusal| Report::of_refusal(refusal, generation)));
    let now = Reports { reports: found, nodes: engine.nodes().map(str::to_owned).collect() };
    drop(engine);
    reports.send_if_modified(|before| {
        let changes = **before != now;
        if changes {
            *before = Arc::new(now);
        }
        changes
    });
}

fn count(problems: &BTreeSet<Problem>) -> BTreeMap<Level, usize> {
    let mut counts = BTreeMap::new();
    for problem in problems {
        *counts.entry(problem.level).or_default() += 1;
    }
    counts
}

/// What was not there before. What has gone is forgotten, and told again if it returns.
fn news(known: &mut BTreeSet<Problem>, all: BTreeSet<Problem>) -> Vec<Problem> {
    let news = all.difference(known).cloned().collect();
    *known = all;
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once_until_it_returns() {
        let problem = |message: &str| Problem { message: message.into(), ..Problem::default() };
        let all = |messages: &[&str]| messages.iter().map(|m| problem(m)).collect::<BTreeSet<_>>();
        let mut known = BTreeSet::new();
        let mut told = |now: &[&str]| {
            news(&mut known, all(now)).into_iter().map(|problem| problem.message).collect::<Vec<_>>()
        };
        assert_eq!(told(&["a"]), ["a"]);
        assert_eq!(told(&["a", "b"]), ["b"]);
        assert!(told(&["b"]).is_empty());
        assert_eq!(told(&["a"]), ["a"]);
    }
}
