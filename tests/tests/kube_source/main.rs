//! The agent's source of objects against an API server that does everything that one can do wrong.

mod client;
mod faults;
mod follow;
mod kubectl;
