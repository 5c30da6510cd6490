//! Exact at every moment of a change: what packets see while policies, labels and pods change, and when the agent dies
//! in between.

mod cluster;
mod course;
mod dice;
mod flow;
mod random;
mod streams;
