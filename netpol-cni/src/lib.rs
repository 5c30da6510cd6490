//! A chained CNI plugin: a pod starts once its policy is in the kernel. The plugin itself does next to nothing: it asks the node's
//! agent and waits. It answers the CNI specification 1.1.0 (<https://www.cni.dev/docs/spec/>) and configurations of 0.3.1 and later.
//!
//! The agent uses [`protocol`] and [`Records`], so that both sides have one definition of what passes between them.

mod agent;
mod conf;
mod error;
mod hold;
mod parameters;
mod plugin;
mod previous;
pub mod protocol;
mod records;

pub use conf::VERSIONS;
pub use plugin::main;
pub use records::Records;

/// The type that names the plugin in a configuration, which is the name of its file.
pub const TYPE: &str = "netpol-cni";
/// Where agent and plugin meet: the agent's socket and its [`Records`].
pub const DEFAULT_DIR: &str = "/run/netpol/cni";
/// The socket within that folder.
pub const SOCKET: &str = "agent.sock";
