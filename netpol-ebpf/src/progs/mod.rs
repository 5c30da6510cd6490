//! Entry points.

mod clock;
mod empty;
mod from_netdev;
mod from_pod;
mod from_wire;
mod look_up;
mod reap;
mod socket;
mod to_netdev;
mod to_pod;

pub use netpol_common::hook::Hook;
