//! Random clusters, policies and packets, for tests that hold the node against the reference evaluator.
//!
//! Names, labels, ports and blocks are drawn from small pools, so that policies meet pods and one world overlaps the
//! next.

mod ending;
mod event;
mod life;
mod policy;
mod question;
mod run;
mod selector;
mod service;
mod world;

use ending::Ending;
pub(crate) use event::event;
use life::{Life, life};
use question::{Cast, Draw, asked, check, draws};
pub use run::{Answered, Differential, Effort, differential};
pub(crate) use world::{HERE, Scene, addresses, desired, has_interface, world};
