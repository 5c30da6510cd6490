//! The test bed, the scenario and conformance runners, the benchmark, and what their binaries share.
//!
//! `bed` builds clusters out of network namespaces, `serve` answers in their pods, `probe` tries out connections,
//! `scenario` runs files that say what must be seen, `conformance` runs cases that say who may reach whom.
//! `packet` runs the kernel programs on packets by hand; on a `station` the agent's engine writes their maps, and `random`
//! holds both against the reference evaluator; `barrage` holds what becomes of random bytes against a plain model.
//! `journey` follows requests through real programs in pods. `apiserver` is an API server in memory. `soak` holds flow records against the
//! connections that were made, for as long as one likes.

pub mod apiserver;
pub mod barrage;
pub mod bed;
pub mod bench;
pub mod conformance;
mod eventually;
pub mod flows;
pub mod journey;
pub mod packet;
pub mod probe;
pub mod random;
pub mod scenario;
pub mod serve;
pub mod soak;
pub mod station;
mod usage;

pub use eventually::eventually;
