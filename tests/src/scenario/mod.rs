//! Scenario files: a cluster, its manifests, and what must be seen on the wire.

mod expect;
mod format;
mod order;
mod packet;
mod report;
mod run;
mod target;
mod trying;

pub use format::{Scenario, read_objects};
pub use order::Order;
pub use report::{ProbeReport, ScenarioReport, StepReport};
pub use run::{Options, Run};
