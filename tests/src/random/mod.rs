//! Random clusters, policies and packets, for tests that hold the node against the reference evaluator.
//!
//! Names, labels, ports and blocks are drawn from small pools, so that policies meet pods and one world overlaps the
//! next.

mod policy;
mod question;
mod run;
mod selector;
mod service;
mod world;

use question::{Draw, asked, check, draws};
pub use run::{Answered, Effort, differential};
use world::{HERE, Scene, desired, world};
