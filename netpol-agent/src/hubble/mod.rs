//! [Hubble](https://github.com/cilium/cilium/tree/main/hubble)'s API on flow records, so that its command line, Relay and its
//! UI work with netpol: `docs/hubble.md`. What the fields and numbers mean is Hubble's; `map` says what of ours they get.

mod events;
mod filter;
mod identity;
mod listen;
mod map;
mod mask;
pub mod messages;
mod observer;
mod peers;
mod reason;
mod rpc;
mod tls;
mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use tokio::sync::watch;

use crate::flow::FlowStore;
use events::AgentEvents;
pub use listen::{HubbleError, HubbleOptions, Listeners};
pub use tls::{TlsError, TlsFiles};

/// What the API tells of.
pub trait Cluster: Send + Sync + 'static {
    /// This node's name.
    fn name(&self) -> &Arc<str>;
    /// The flow records.
    fn store(&self) -> &Arc<FlowStore>;
    /// All nodes, and under which address others reach them.
    fn nodes(&self) -> BTreeMap<String, IpAddr>;
    /// Another number whenever [`Cluster::nodes`] may have changed.
    fn nodes_version(&self) -> u64;
    /// How often verdicts may have changed.
    fn epoch(&self) -> u32;
    /// Changes when nodes or epoch may have changed.
    fn turns(&self) -> watch::Receiver<u64>;
}

/// What the services share.
struct Hubble<C> {
    cluster: C,
    reach: Reach,
    events: AgentEvents,
    started: Instant,
}

impl<C: Cluster> Hubble<C> {
    fn new(cluster: C, reach: Reach) -> Self {
        let events = AgentEvents::new(cluster.name().clone());
        Self { cluster, reach, events, started: Instant::now() }
    }

    fn uptime_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Where the API is served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Reach {
    socket: Option<PathBuf>,
    port: Option<u16>,
    tls: bool,
}

impl Reach {
    /// Where a node with this address answers; all are configured alike.
    fn address(&self, address: IpAddr) -> Option<String> {
        self.port.map(|port| SocketAddr::new(address, port).to_string())
    }

    /// Where this node answers.
    fn own(&self, cluster: &impl Cluster) -> String {
        let address = cluster.nodes().get(&**cluster.name()).and_then(|address| self.address(*address));
        let socket = || self.socket.as_ref().map(|path| format!("unix://{}", path.display()));
        address.or_else(socket).unwrap_or_default()
    }
}

/// Tells of changes of policy as long as it runs.
async fn watch<C: Cluster>(hubble: Arc<Hubble<C>>) {
    let mut turns = hubble.cluster.turns();
    let mut epoch = hubble.cluster.epoch();
    while turns.changed().await.is_ok() {
        let now = hubble.cluster.epoch();
        if now != epoch {
            epoch = now;
            hubble.events.policy_updated(epoch);
        }
    }
}
