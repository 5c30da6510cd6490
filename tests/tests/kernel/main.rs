//! The kernel side of the agent against a real kernel, in network namespaces of a bed's own: maps, programs on
//! interfaces, discovery, and taking over from an agent that is gone. Without root the bed says that it is missing.

mod beside;
mod conntrack;
mod damage;
mod discovery;
mod limits;
mod maps;
mod newcomers;
mod node;
mod repair;
mod restart;
mod soak;
mod uplinks;
mod versions;
mod xdp;
