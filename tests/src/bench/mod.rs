//! Measurements: single packets through the loaded programs, connections between pods, and the time that a change of
//! policy takes to reach them.
//!
//! Absolute times are noise on a shared machine: everything is measured in interleaved rounds of one run, and compared
//! within the round.

mod across;
mod change;
mod connections;
mod crowd;
mod effort;
mod events;
mod in_force;
mod kube_proxy;
mod machine;
mod node_ports;
mod packet;
mod plot;
mod policed;
mod pulse;
mod report;
mod scale;
mod series;
mod services;
mod sight;
mod size;
mod stateful;
mod storm;
mod tables;
mod traffic;
mod turns;
mod wire;
mod work;

pub use across::across;
pub use change::changes;
pub use connections::connections;
pub use events::events;
pub use machine::Machine;
pub use node_ports::node_ports;
pub use packet::{hold, packets};
pub use plot::plot;
pub use report::{Ratio, Refused, Report, Summary, TOLERANCE};
pub use scale::scale;
pub use series::Series;
pub use services::services;
pub use size::size;
