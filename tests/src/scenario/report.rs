//! What a run found, for people and as JSON.

use std::{fmt, time::Duration};

use netpol_agent::flow::FlowRecord;
use serde::Serialize;

/// Flow records that a failure shows to people: the last ones.
const FLOWS: usize = 6;

/// A scenario's run.
#[derive(Debug, Serialize)]
pub struct ScenarioReport {
    /// The file.
    pub file: String,
    /// Its `name`, if it could be read.
    pub name: String,
    /// Whether everything was as expected.
    pub passed: bool,
    /// What kept it from being run to its end.
    pub error: Option<String>,
    /// Its steps, as far as they were run.
    pub steps: Vec<StepReport>,
    /// How long it took, without the removal of its cluster, in milliseconds.
    pub milliseconds: u64,
    /// The end of each agent's log, if something failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
}

/// A step's run.
#[derive(Debug, Serialize)]
pub struct StepReport {
    /// Its `name`.
    pub name: String,
    /// Its probes, once per family.
    pub probes: Vec<ProbeReport>,
}

/// A probe's run in one family.
#[derive(Debug, Serialize)]
pub struct ProbeReport {
    /// What was tried.
    pub probe: String,
    /// 4 or 6; 0 if it could not be run in any.
    pub family: u8,
    /// Whether it was as expected.
    pub passed: bool,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// What the agents recorded of the last tries.
    pub flows: Vec<FlowRecord>,
    /// From the step's changes until it was as expected, or until it was given up, in milliseconds.
    pub milliseconds: u64,
}

impl ScenarioReport {
    /// For a scenario that could not be run.
    #[must_use]
    pub fn of_error(file: String, name: String, error: &anyhow::Error) -> Self {
        Self {
            file,
            name,
            passed: false,
            error: Some(format!("{error:#}")),
            steps: Vec::new(),
            milliseconds: 0,
            logs: Vec::new(),
        }
    }

    /// Probes that were as expected, and those that were not.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let all = self.steps.iter().flat_map(|s| &s.probes);
        let passed = all.clone().filter(|p| p.passed).count();
        (passed, all.count() - passed)
    }
}

impl fmt::Display for ScenarioReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed) = self.counts();
        let word = if self.passed { "ok  " } else { "FAIL" };
        let seconds = Duration::from_millis(self.milliseconds).as_secs_f32();
        let all = passed + failed;
        writeln!(f, "{word} {}: {} ({passed} of {all} probes, {seconds:.1} s)", self.file, self.name)?;
        for step in &self.steps {
            for probe in step.probes.iter().filter(|p| !p.passed) {
                writeln!(f, "  step {:?}: {probe}", step.name)?;
            }
        }
        if let Some(error) = &self.error {
            writeln!(f, "  {error}")?;
        }
        self.logs.iter().try_for_each(|log| writeln!(f, "  {}", log.replace('\n', "\n  ")))
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { probe, family, expected, seen, flows, milliseconds, .. } = self;
        writeln!(f, "{probe} over IPv{family}, after {milliseconds} ms")?;
        writeln!(f, "    expected: {expected}")?;
        write!(f, "    seen:     {seen}")?;
        if flows.is_empty() {
            write!(f, "\n    flow:     no record")?;
        }
        for flow in flows.iter().rev().take(FLOWS).rev() {
            let flow = serde_json::to_string(flow).map_err(|_e| fmt::Error)?;
            write!(f, "\n    flow:     {flow}")?;
        }
        Ok(())
    }
}
