use std::net::IpAddr;

use super::{
    Services, Steps,
    count::{Counts, Table},
};
use crate::{
    compile::Desired,
    dataplane::{ClusterRow, Op},
    plan::{Refusal, track::Diff},
};

impl Services {
    /// Who in the cluster addresses are. This node's own row, whose key comes first in its family, is written last and removed first:
    /// while it is there, whom the others are about is known.
    pub(super) fn plan_cluster(&mut self, desired: &Desired, room: &mut Counts, steps: &mut Steps) {
        let Diff { puts, deletes } = self.cluster.diff(desired.cluster.rows());
        for addr in deletes {
            steps.ops.push(Op::DeleteCluster(addr));
            room.subtract(Table::Cluster, addr.is_ipv4());
        }
        let mut refused = None;
        for (addr, row) in puts.into_iter().rev() {
            if !self.cluster.actual().contains_key(&addr)
                && let Err(shortage) = room.admit(Table::Cluster, addr.is_ipv4(), &self.capacity)
            {
                room.subtract(Table::Cluster, addr.is_ipv4());
                refused = Some(Refusal::Cluster { addr, shortage });
                continue;
            }
            steps.ops.push(Op::PutCluster(addr, row));
        }
        steps.refusals.extend(refused);
    }

    pub(super) fn put_cluster(&mut self, addr: IpAddr, row: ClusterRow) {
        if !self.cluster.actual().contains_key(&addr) {
            self.counts.add(Table::Cluster, addr.is_ipv4());
        }
        self.cluster.put(addr, row);
    }

    pub(super) fn delete_cluster(&mut self, addr: &IpAddr) {
        self.counts.subtract(Table::Cluster, addr.is_ipv4());
        self.cluster.delete(addr);
    }
}
