//! Entry points.

mod clock;
mod empty;
mod from_pod;
mod reap;
mod to_pod;

pub use netpol_common::hook::Hook;
