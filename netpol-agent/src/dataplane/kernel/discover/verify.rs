//! Whether the programs are where this process has put them. Others may take them away: a pinned link is a file, a filter anybody's
//! with the right to change interfaces.

use super::{
    super::{across::Pod, links::Hook, veth},
    DiscoverError, Discovery, Seen,
};

impl Discovery {
    /// Has the next `settle` look.
    pub(in super::super) fn doubt_programs(&mut self) {
        self.unsure = true;
        self.across.note();
    }

    /// Puts back what pods' interfaces are missing, and has `Uplinks::settle` do so for uplinks.
    pub(super) fn verify(&mut self) -> Result<(), DiscoverError> {
        if !self.unsure {
            return Ok(());
        }
        for (ifindex, seen) in self.seen.iter().filter(|(_, seen)| seen.attached) {
            // An interface that is gone has lost them too; the report of it is on its way.
            if self.links.is_whole(*ifindex, Hook::POD)? || veth::look(&mut self.netlink, *ifindex)?.is_none()
            {
                continue;
            }
            self.links.attach(*ifindex)?;
            let name = &seen.veth.name;
            tracing::warn!(ifindex, name, "somebody has taken programs off a pod's interface: they are back");
        }
        for ifindex in self.links.uplinks() {
            if self.links.is_whole(ifindex, Hook::UPLINK)? {
                continue;
            }
            self.links.doubt_uplink(ifindex);
            self.uplinks.note();
            tracing::warn!(ifindex, "somebody has taken programs off an uplink: they are put back");
        }
        self.unsure = false;
        Ok(())
    }

    /// Has the switches of the fast path across nodes follow what is on the nodes' own way.
    pub(super) fn settle_across(&mut self) {
        let pods = self.seen.iter().filter(|(_, seen)| seen.attached);
        let pods = pods.map(|(ifindex, Seen { veth, .. })| Pod {
            ifindex: *ifindex,
            name: &veth.name,
            bridge: veth.master,
        });
        self.across.settle(self.uplinks.all(), pods);
    }
}
