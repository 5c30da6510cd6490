//! The chained CNI plugin: real plugins before it, a real agent behind it.

mod chains;
mod commands;
mod crowd;
mod ground;
mod installing;
mod sound;
mod starting;
mod unpoliced;
