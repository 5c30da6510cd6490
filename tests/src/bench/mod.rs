//! Measurements: single packets through the loaded programs, and connections between pods.
//!
//! Absolute times are noise on a shared machine: everything is measured in interleaved rounds of one run, and compared
//! within the round.

mod connections;
mod packet;
mod series;
mod traffic;

pub use connections::connections;
pub use packet::packets;
pub use series::{Report, Series};
