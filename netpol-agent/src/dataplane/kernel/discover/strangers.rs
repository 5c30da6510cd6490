//! Pods' namespaces that no veth leads to: what is in them is sent past the node's side of any interface (macvlan, ipvlan, a device of the
//! node's or one of its virtual functions), so that no program sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    super::{netlink::NetlinkError, veth},
    Discovery,
};

/// Addresses of pods that cannot be policed, kept up to date by discovery.
#[derive(Clone, Debug, Default)]
pub struct Unpoliced(Arc<Mutex<BTreeMap<IpAddr, String>>>);

impl Unpoliced {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has the address, in words: `eth0 in namespace cni-1 is a macvlan`.
    #[must_use]
    pub fn what(&self, addr: IpAddr) -> Option<String> {
        self.lock().get(&addr).cloned()
    }

    fn set(&self, found: BTreeMap<IpAddr, String>) {
        let mut known = self.lock();
        let told: BTreeSet<&String> = known.values().collect();
        for what in found.values().collect::<BTreeSet<_>>().difference(&told) {
            tracing::warn!("{what}: it is not policed");
        }
        *known = found;
    }
}

impl Discovery {
    /// For who wants to know of pods that cannot be policed.
    pub(in super::super) fn unpoliced(&self) -> Unpoliced {
        self.unpoliced.clone()
    }

    /// Asks each namespace that no veth of the node leads to for its interfaces with addresses.
    pub(super) fn look_at_strangers(&mut self) -> Result<(), NetlinkError> {
        if !self.strange {
            return Ok(());
        }
        let known: BTreeSet<i32> = self.seen.values().filter_map(|seen| seen.veth.nsid).collect();
        let mut found = BTreeMap::new();
        for (nsid, netns) in self.namespaces.all().filter(|(nsid, _)| !known.contains(nsid)) {
            for (ifindex, name, kind) in veth::others_in(&mut self.netlink, nsid)? {
                for addr in veth::peer_addresses(&mut self.netlink, nsid, ifindex)? {
                    found.insert(addr, format!("{name} in namespace {netns} is {kind}"));
                }
            }
        }
        self.unpoliced.set(found);
        self.strange = false;
        Ok(())
    }
}
