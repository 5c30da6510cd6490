//! The node agent. Data flows one way, with I/O at the two ends only:
//!
//! ```text
//! source (manifest folder) → model → index → compile → plan → dataplane (maps, links)
//! what is wrong → recorder (Kubernetes Events)
//! kernel events → flow (decode → attribute) → ctl (netpolctl), ui, hubble, export
//! ```
//!
//! `index`, `compile` and `plan` are pure and synchronous: no client, no clock, no I/O. `dataplane::kernel` is the only
//! module that talks to the kernel. `runtime` is the only one that sees both ends. `oracle` stands beside all of this.

#![deny(unsafe_code)]

mod accept;
pub mod cli;
pub mod compile;
pub mod config;
pub mod ctl;
pub mod dataplane;
pub mod diagnose;
pub mod engine;
pub mod export;
pub mod few;
pub mod flow;
pub mod history;
pub mod hubble;
pub mod index;
pub mod install;
pub mod model;
pub mod oracle;
pub mod plan;
pub mod recorder;
pub mod runtime;
pub mod source;
pub mod ui;
