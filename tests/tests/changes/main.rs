//! Exact at every moment of a change: what packets see while policies, labels and pods change, and when the agent dies
//! in between.

mod chatter;
mod cluster;
mod course;
mod dice;
mod flow;
mod killed;
mod orders;
mod random;
mod streams;
