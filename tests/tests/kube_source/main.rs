//! The agent against an API server that does everything that one can do wrong: its source of objects, and its events.

mod client;
mod events;
mod faults;
mod follow;
mod kubectl;
