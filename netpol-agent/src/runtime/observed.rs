use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use tokio::sync::watch;

use super::Shared;
use crate::{flow::FlowStore, hubble::Cluster};

/// The running agent, as Hubble's API sees it.
pub(super) struct Observed {
    pub(super) node: Arc<str>,
    pub(super) shared: Shared,
    pub(super) records: Arc<FlowStore>,
}

impl Cluster for Observed {
    fn name(&self) -> &Arc<str> {
        &self.node
    }
    fn store(&self) -> &Arc<FlowStore> {
        &self.records
    }
    fn nodes(&self) -> BTreeMap<String, IpAddr> {
        self.shared.engine().node_addresses()
    }
    fn nodes_version(&self) -> u64 {
        self.shared.engine().attribution().nodes_version()
    }
    fn epoch(&self) -> u32 {
        self.shared.epoch()
    }
    fn turns(&self) -> watch::Receiver<u64> {
        self.shared.turns()
    }
}
