//! What load balancers and other probes are told over HTTP, in kube-proxy's words.

mod answer;
mod listen;
mod probes;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

pub(super) use listen::run;
pub(super) use probes::Probes;
use tokio::sync::watch;

use crate::compile::HealthCheck;

/// Where load balancers ask whether this node has backends, and what they are told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::runtime) struct Checks {
    /// Addresses of this node.
    pub addresses: Vec<IpAddr>,
    /// Backends of this node that are ready.
    pub ready: BTreeMap<HealthCheck, usize>,
}

/// The checks as they are told, from the loop to whoever answers.
#[derive(Debug)]
pub(super) struct Told(watch::Sender<Checks>);

impl Default for Told {
    fn default() -> Self {
        Self(watch::Sender::new(Checks::default()))
    }
}

impl Told {
    /// Who has lost its last backend is told so before the maps change: no load balancer is to send here any more what finds
    /// nobody.
    pub(super) fn lower(&self, wanted: &Checks) {
        self.0.send_if_modified(|told| {
            let lost = |check: &HealthCheck| wanted.ready.get(check).is_none_or(|ready| *ready == 0);
            let falling = told.ready.iter_mut().filter(|(check, ready)| **ready > 0 && lost(check));
            falling.map(|(_, ready)| *ready = 0).count() > 0
        });
    }

    /// The maps hold what is wanted: everything is told as it is.
    pub(super) fn settle(&self, wanted: Checks) {
        self.0.send_if_modified(|told| {
            let changes = *told != wanted;
            *told = wanted;
            changes
        });
    }

    pub(super) fn listen(&self) -> watch::Receiver<Checks> {
        self.0.subscribe()
    }
}
