//! Scenario files: a cluster, its manifests, and what must be seen on the wire.

mod expect;
mod format;
mod report;
mod run;
mod target;
mod trying;

pub use format::{Scenario, read_objects};
pub use report::{ProbeReport, ScenarioReport, StepReport};
pub use run::{Options, Run};
