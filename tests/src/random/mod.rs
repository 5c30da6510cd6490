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
pub use life::Stage;
use life::{Life, life};
pub use question::Draw;
use question::{Cast, asked, check, draws};
pub use run::{Answered, Differential, Effort, differential};
pub use world::HERE;
pub(crate) use world::{Scene, addresses, desired, has_interface, world};
