//! What pods have done lately, and what that says about policies: flow records summed up, kept on disk if a folder is named,
//! judged again under other policies (`netpolctl simulate`), and turned into policies (`netpolctl suggest`).
//!
//! The reference evaluator judges; nothing here is on a packet's way. `docs/history.md` shows both commands.

mod journal;
mod judge;
mod labels;
mod observation;
mod recall;
mod simulate;
mod suggest;
mod tally;
#[cfg(test)]
mod tests;

pub use journal::{History, HistoryOptions, keep};
pub use observation::{Observation, ObservedParty};
pub use recall::{Recalled, recall};
pub use simulate::{Changed, Outcome, PolicyChange, Simulation, UnknownPolicy, simulate};
pub use suggest::{Suggestion, suggest};
