//! The kernel: the only user of aya, netlink and `unsafe`.

mod abi;
mod arena;
mod backends;
mod bpf;
#[cfg(feature = "bpf-log")]
mod bpf_log;
mod clock;
mod clsact;
mod connections;
mod discover;
mod gc;
mod grace;
mod judge;
mod layout;
mod links;
mod maps;
mod monitor;
mod namespaces;
mod netlink;
mod object;
mod open;
mod pins;
mod ring;
mod stats;
mod table;
mod veth;
mod watch;

pub use clock::{Clock, Jiffies};
pub use connections::{ConnectionKey, Connections};
pub use discover::{Change, DiscoverError};
pub use gc::{Conntrack, Fill, Progress};
pub use judge::{Judgement, Timeouts, judge};
pub use layout::LayoutError;
pub use links::{AttachMode, LinkError};
pub use maps::{Maps, Switch, Switches};
pub use namespaces::NamespaceError;
pub use netlink::NetlinkError;
pub use object::{LoadError, LoadOptions, Object, RunContext, RunError, RunOutcome, Sizes};
pub use open::{Kernel, KernelOptions, Lock, OpenError, cleanup};
pub use pins::PinError;
pub use ring::{Drained, LOOK_EVERY, Ring};
pub use stats::Stats;
pub use watch::{Look, WatchError};
