use netpol_common::names;

use super::super::Shortage;
use crate::dataplane::Capacity;

/// Tables of Services that have rows by key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    Frontends,
    Members,
    Ranges,
    Nets,
    Cluster,
}

/// How many rows each table has, per family (IPv6, IPv4).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts([[usize; 2]; 5]);

impl Counts {
    pub(super) fn add(&mut self, table: Table, v4: bool) {
        self.0[table as usize][usize::from(v4)] += 1;
    }

    pub(super) fn subtract(&mut self, table: Table, v4: bool) {
        let count = &mut self.0[table as usize][usize::from(v4)];
        *count = count.saturating_sub(1);
    }

    /// The rows of a table, of IPv4 and of IPv6.
    pub(super) const fn of(&self, table: Table) -> [usize; 2] {
        let [six, four] = self.0[table as usize];
        [four, six]
    }

    /// Adds a row if there is room.
    pub(super) fn admit(&mut self, table: Table, v4: bool, capacity: &Capacity) -> Result<(), Shortage> {
        let (four, six, capacity) = match table {
            Table::Frontends => (names::FE4, names::FE6, capacity.frontends),
            Table::Members => (names::MEMBER4, names::MEMBER6, capacity.members),
            Table::Ranges => (names::RANGE4, names::RANGE6, capacity.ranges),
            Table::Nets => (names::SVCNET4, names::SVCNET6, capacity.service_nets),
            Table::Cluster => (names::CLUSTER4, names::CLUSTER6, capacity.cluster),
        };
        self.add(table, v4);
        let need = self.0[table as usize][usize::from(v4)];
        if need > capacity {
            return Err(Shortage { map: if v4 { four } else { six }, need, capacity });
        }
        Ok(())
    }
}
