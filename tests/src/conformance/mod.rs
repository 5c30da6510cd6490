//! Runs NetworkPolicy conformance cases: a cluster, changes to it, and after each change the truth about every
//! connection between its pods.
//!
//! ```text
//! case (JSON) → cluster (replays the actions) → target (something that judges) → report
//! ```
//!
//! The format of a case is described in `tests/conformance/README.md`.

mod case;
mod cluster;
mod family;
mod oracle;
mod report;
mod rows;
mod run;
mod socket;
mod stage;
mod target;
mod truth;

pub use case::{Action, Case, CasePod, InitialCluster, Port, Step, Suite};
pub use cluster::Cluster;
pub use family::Family;
pub use oracle::OracleTarget;
pub use report::{CaseReport, Counts, Failure, Report};
pub use rows::RowsTarget;
pub use run::run_suite;
pub use socket::SocketTarget;
pub use stage::Stage;
pub use target::{Probe, Seen, Target};
pub use truth::{Ends, truth};
