//! What whoever runs a node sees of an agent: probes, numbers, events, diagnoses.

mod diagnoses;
mod events;
mod http;
mod probes;
