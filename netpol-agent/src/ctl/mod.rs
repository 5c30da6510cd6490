//! The control socket: how people see what the agent knows. Nothing can be changed through it.

pub mod api;
mod client;
mod explain;
#[cfg(test)]
pub(crate) mod fixture;
mod maps;
mod measures;
mod metrics;
mod party;
mod past;
mod server;
#[cfg(test)]
mod server_tests;
mod socket;
mod state;
mod status;
mod target;

pub use client::{Client, ClientError};
pub use explain::{ExplainError, Knowledge, explain};
pub use measures::{Measures, Programmed, Stage};
pub use metrics::{Numbers, render as render_metrics};
pub use past::{PastError, simulated, suggested};
pub use server::serve;
pub use socket::{Audience, DEFAULT_SOCKET, Socket, SocketError};
pub use state::State;
pub use status::{endpoint_counts, event_counters, packet_counters, table_fills, watch_views};
