//! Pods that were at work before netpol came.

use super::{
    super::{
        inherit::{Ends, Pod},
        takeover::{Start, Taken, TakeoverError, take_over},
        veth::{self, Veth},
    },
    Discovery,
};

impl Discovery {
    /// Enters the connections of the pods that were there before netpol, whose interfaces are about to be closed.
    pub(super) fn inherit(&mut self, start: Start) {
        match self.try_inherit(start) {
            Ok(Taken { entries, left }) => {
                for (ifindex, entries) in entries {
                    let name = self.seen.get(&ifindex).map(|seen| seen.veth.name.as_str());
                    tracing::info!(ifindex, name, entries, "connections of a pod taken over");
                }
                if left > 0 {
                    tracing::warn!(
                        connections = left,
                        "no room to take over: judged as connections that are under way"
                    );
                }
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no connections taken over: they are judged as connections that are under way"
            ),
        }
    }

    fn try_inherit(&mut self, start: Start) -> Result<Taken, TakeoverError> {
        let mut ends = Ends::default();
        let mut newcomers = 0;
        for seen in self.seen.values_mut() {
            let Veth { ifindex, peer, nsid, .. } = seen.veth;
            let Some(nsid) = nsid.filter(|nsid| self.namespaces.name(*nsid).is_some()) else { continue };
            let pod = Pod { ifindex, newcomer: !seen.attached };
            seen.adopting = pod.newcomer;
            newcomers += usize::from(pod.newcomer);
            ends.add_pod(pod, veth::peer_addresses(&mut self.netlink, nsid, peer)?);
        }
        if newcomers == 0 {
            return Ok(Taken::default());
        }
        ends.add_node(veth::own_addresses(&mut self.netlink)?);
        take_over(&self.pins, &ends, start)
    }

    /// From now on no pod is one whose connections are older than its programs.
    pub(in super::super) fn end_adoption(&mut self) {
        for (ifindex, seen) in self.seen.iter_mut().filter(|(_, seen)| seen.adopting) {
            seen.adopting = false;
            self.dirty.insert(*ifindex);
        }
    }
}
