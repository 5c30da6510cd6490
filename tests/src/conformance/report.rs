use std::fmt;

use serde::Serialize;

/// What a run has found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// In the order they were run.
    pub cases: Vec<CaseReport>,
    /// Over all cases.
    pub counts: Counts,
}

/// What was probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Connections tried.
    pub probes: usize,
    /// Of them those that should be denied.
    pub denied: usize,
    /// Single verdicts compared (each end alone, both together).
    pub verdicts: usize,
    /// Left out because source and destination are the same pod.
    pub skipped_self: usize,
    /// Left out because the target cannot be asked about the protocol.
    pub skipped_protocol: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.probes += other.probes;
        self.denied += other.denied;
        self.verdicts += other.verdicts;
        self.skipped_self += other.skipped_self;
        self.skipped_protocol += other.skipped_protocol;
    }
}

/// One case.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CaseReport {
    /// Its id.
    pub id: String,
    /// What was probed.
    pub counts: Counts,
    /// Empty if it passed.
    pub failures: Vec<Failure>,
}

/// A verdict that is not what the case says, or an error on the way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// From 1.
    pub step: usize,
    /// `namespace/pod`; empty for an error of the step as a whole.
    pub from: String,
    /// `namespace/pod`
    pub to: String,
    /// `TCP/80`
    pub port: String,
    /// `egress`, `ingress` or `combined`.
    pub end: &'static str,
    /// `allowed` or `denied`.
    pub expected: String,
    /// `allowed`, `denied`, or what went wrong.
    pub seen: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, from, to, port, end, expected, seen } = self;
        if from.is_empty() {
            return write!(f, "step {step}: {seen}");
        }
        write!(f, "step {step}: {from} → {to} {port}, {end}: expected {expected}, seen {seen}")
    }
}

impl Report {
    /// Cases without a failure.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.cases.iter().filter(|case| case.failures.is_empty()).count()
    }
    /// Cases with one or more.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.cases.len() - self.passed()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            for failure in &case.failures {
                writeln!(f, "FAIL {} {failure}", case.id)?;
            }
        }
        let Counts { probes, denied, verdicts, skipped_self, skipped_protocol } = self.counts;
        writeln!(f, "{probes} probes ({denied} to be denied), {verdicts} verdicts compared")?;
        writeln!(
            f,
            "skipped: {skipped_self} probes of a pod to itself, {skipped_protocol} of other protocols"
        )?;
        write!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}
