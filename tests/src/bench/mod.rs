//! Measurements: single packets through the loaded programs, connections between pods, and the time that a change of
//! policy takes to reach them.
//!
//! Absolute times are noise on a shared machine: everything is measured in interleaved rounds of one run, and compared
//! within the round.

mod change;
mod connections;
mod crowd;
mod in_force;
mod kube_proxy;
mod node_ports;
mod packet;
mod policed;
mod pulse;
mod scale;
mod series;
mod services;
mod traffic;
mod wire;

pub use change::changes;
pub use connections::connections;
pub use node_ports::node_ports;
pub use packet::packets;
pub use scale::scale;
pub use series::{Report, Series};
pub use services::services;
