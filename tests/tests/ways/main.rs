//! Ways to a Service, with several of them at once (needs root).

mod dsr;
mod one_port;
mod talk;
mod uplinks;
