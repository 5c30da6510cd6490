//! Pure logic that runs in the kernel programs, in the agent's `explain`, and in plain unit tests.

pub mod backends;
pub mod csum;
pub mod policy;
pub mod ports;
pub mod ring;
pub mod tcp;
