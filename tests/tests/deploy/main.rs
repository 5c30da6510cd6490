//! What is shipped in `deploy`: rendered by the programs that people use, and held against the API, the agent's command line, and
//! each other.

mod access;
mod cluster;
mod command;
mod container;
mod history;
mod inout;
mod known;
mod privileges;
mod render;
mod same;
