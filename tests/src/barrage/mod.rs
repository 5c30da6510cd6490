//! Random bytes through the loaded programs, against a reference that is written as plainly as can be: a reader of packets,
//! the evaluator's verdict, and a table of connections, all in slices and hash maps.
//!
//! It shares no code with the programs beyond the numbers of reasons and protocols. What it says is what
//! `docs/packet-path.md` says.

mod check;
mod fate;
mod laws;
mod mutate;
mod quoted;
mod read;
mod reference;
mod related;
mod run;
mod segment;
mod service;
mod table;
mod traffic;

pub use run::{Barrage, Shot};
