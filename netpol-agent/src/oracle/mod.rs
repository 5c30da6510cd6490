//! The reference evaluator: NetworkPolicy judged straight from the API's words, one question at a time.
//!
//! It reads Kubernetes objects as they stand in plain lists and shares no code with `index` and `compile`: it is what
//! they are tested against, and the engine of `netpolctl explain`. Nothing is cached, nothing is clever. What the API
//! leaves open is decided in `docs/adr/0060-reference-evaluator.md`.

mod block;
mod judgement;
mod miss;
mod party;
mod peer;
mod policy;
mod port;
mod rule;
mod selector;
mod service;
mod ways;
mod world;

#[cfg(test)]
mod tests;

pub use judgement::{Judgement, ObjectName, RuleMatch, Verdict};
pub use miss::{Miss, MissedPeer, MissedPort, PeerMiss, PortMiss};
pub use party::{Family, Party, Question, Unanswerable};
pub(crate) use policy::concerns;
pub use policy::judge;
pub(crate) use port::{named_ports, protocol_number};
pub(crate) use selector::selects;
pub(crate) use service::says_ready;
pub use service::{ServiceBackend, Translation, translate};
pub use world::World;
pub(crate) use world::{
    addresses_of, has_own_network, is_live, labels_of, name_of, namespace_in, namespace_of, node_of,
};
