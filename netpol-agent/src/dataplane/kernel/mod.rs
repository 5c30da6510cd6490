//! The kernel: the only user of aya, netlink and `unsafe`.

mod object;

pub use object::{LoadError, LoadOptions, Object, RunContext, RunError, RunOutcome, Sizes};
