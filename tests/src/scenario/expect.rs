//! Holds what came of a probe against what was expected.

use std::collections::BTreeSet;

use netpol_agent::flow::{FlowRecord, Verdict};

use super::{
    format::{Expect, Probe},
    target::Target,
};
use crate::{bed::Bed, probe::Outcome, serve::Reply};

/// Everything seen of one probe in one family, over all its tries.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) tries: Vec<Try>,
}

/// One try.
#[derive(Clone, Debug)]
pub(super) struct Try {
    pub(super) outcome: Outcome,
    /// Who received something of it.
    pub(super) reached: Vec<String>,
    /// What the agents recorded of it.
    pub(super) flows: Vec<FlowRecord>,
}

/// `Ok`, or what is wrong.
pub(super) fn judge(bed: &Bed, probe: &Probe, seen: &Seen) -> Result<(), String> {
    seen.tries.iter().try_for_each(|one| judge_one(bed, probe, one))?;
    let answered = answered(seen);
    if let Some(wanted) = wanted(probe)
        && wanted != answered
    {
        return Err(format!("answered by {answered:?}"));
    }
    if probe.sticky && answered.len() > 1 {
        return Err(format!("answered by {answered:?}, not by one of them"));
    }
    Ok(())
}

/// Whether some of those that must all answer have not, while nobody else did: more tries may still find them.
pub(super) fn lacks_answers(probe: &Probe, seen: &Seen) -> bool {
    let answered = answered(seen);
    wanted(probe).is_some_and(|wanted| wanted.len() > answered.len() && wanted.is_superset(&answered))
}

/// Who must have answered, all of them and nobody else.
fn wanted(probe: &Probe) -> Option<BTreeSet<&str>> {
    probe.answered_by.as_ref().map(|names| names.iter().map(String::as_str).collect())
}

fn answered(seen: &Seen) -> BTreeSet<&str> {
    seen.tries.iter().filter_map(|one| reply(&one.outcome)).map(|reply| reply.pod.as_str()).collect()
}

fn judge_one(bed: &Bed, probe: &Probe, one: &Try) -> Result<(), String> {
    match (probe.expect, &one.outcome) {
        (Expect::Ok, Outcome::Answered(reply)) => {
            reply.as_ref().map_or(Ok(()), |r| judge_reply(bed, probe, r))
        }
        (Expect::Audit, Outcome::Answered(reply)) => {
            reply.as_ref().map_or(Ok(()), |r| judge_reply(bed, probe, r))?;
            judge_record(probe, &one.flows)
        }
        (Expect::Ok, Outcome::Status(status)) if probe.status == Some(*status) => Ok(()),
        (Expect::Refuse, Outcome::Refused(_)) => Ok(()),
        (Expect::Drop, Outcome::Silent) => {
            if !one.reached.is_empty() {
                return Err(format!("no answer, but it reached {}", one.reached.join(", ")));
            }
            judge_record(probe, &one.flows)
        }
        (_, outcome) => Err(describe(outcome)),
    }
}

fn judge_reply(bed: &Bed, probe: &Probe, reply: &Reply) -> Result<(), String> {
    if let Target::Pod(name, _) = &probe.to
        && *name != reply.pod
    {
        return Err(format!("answered by {}", reply.pod));
    }
    let Some(place) = &probe.seen_from else { return Ok(()) };
    let addresses = bed.all_addresses(place).map_err(|e| format!("{e:#}"))?;
    if addresses.contains(&reply.peer.ip()) {
        Ok(())
    } else {
        Err(format!("the server saw {}", reply.peer.ip()))
    }
}

/// What is said of a drop that was counted only, or of one without a trace.
pub(super) const UNTOLD: &str = "dropped, without a flow record";

/// Whether one record says all that is asked for.
fn judge_record(probe: &Probe, flows: &[FlowRecord]) -> Result<(), String> {
    let asked = probe.direction.is_some() || probe.reason.is_some() || probe.by.is_some();
    let asked = asked || probe.expect == Expect::Audit;
    if !asked || flows.iter().any(|record| says(probe, record)) {
        return Ok(());
    }
    let audited = probe.expect == Expect::Audit;
    let why = match (audited, flows.is_empty()) {
        (true, true) => "answered, without a flow record",
        (true, false) => "answered, but the flow record differs",
        (false, true) => UNTOLD,
        (false, false) => "dropped, but the flow record differs",
    };
    Err(why.to_owned())
}

fn says(probe: &Probe, record: &FlowRecord) -> bool {
    let policies: BTreeSet<_> =
        record.policies.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
    let verdict = if probe.expect == Expect::Audit { Verdict::Audit } else { Verdict::Dropped };
    record.verdict == verdict
        && probe.direction.is_none_or(|d| record.direction == d.name())
        && probe.reason.as_ref().is_none_or(|r| record.reason.as_ref() == Some(r))
        && probe.by.as_ref().is_none_or(|by| by.iter().cloned().collect::<BTreeSet<_>>() == policies)
}

/// What was expected, in words.
pub(super) fn expected(probe: &Probe) -> String {
    let mut words = vec![
        match probe.expect {
            Expect::Ok => "an answer",
            Expect::Audit => "an answer, and a record of who would have denied it",
            Expect::Drop => "a drop, nothing reaching the server",
            Expect::Refuse => "a refusal",
        }
        .to_owned(),
    ];
    words.extend(probe.direction.map(|d| format!("direction {}", d.name())));
    words.extend(probe.reason.as_ref().map(|r| format!("reason {r}")));
    words.extend(probe.by.as_ref().map(|by| format!("by {}", by.join(" and "))));
    words.extend(
        probe
            .answered_by
            .as_ref()
            .map(|by| format!("from exactly {} over {} tries", by.join(", "), probe.count)),
    );
    words.extend(probe.seen_from.as_ref().map(|place| format!("the server seeing {place}")));
    words.extend(probe.status.map(|status| format!("with status {status}")));
    words.extend(probe.sticky.then(|| format!("from one backend over {} tries", probe.count)));
    words.join(", ")
}

/// What happened, in words.
pub(super) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(Some(reply)) => format!("answered by {}, which saw {}", reply.pod, reply.peer),
        Outcome::Answered(None) => "answered".to_owned(),
        Outcome::Status(status) => format!("answered with status {status}"),
        Outcome::Refused(why) => format!("refused: {why}"),
        Outcome::Silent => "no answer".to_owned(),
        Outcome::Broken(why) => format!("could not be tried: {why}"),
    }
}

fn reply(outcome: &Outcome) -> Option<&Reply> {
    match outcome {
        Outcome::Answered(reply) => reply.as_ref(),
        Outcome::Status(_) | Outcome::Refused(_) | Outcome::Silent | Outcome::Broken(_) => None,
    }
}
