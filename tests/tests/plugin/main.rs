//! The chained CNI plugin: real plugins before it, a real agent behind it.

mod commands;
mod ground;
mod installing;
mod starting;
mod unpoliced;
