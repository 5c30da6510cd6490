use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use netpol_common::{
    logic::ring,
    service::{Backend4, Backend6, FrontendRow, ServiceRow, flags},
};

use super::{Services, count::Table};
use crate::{
    compile::{Balanced, View, Way},
    dataplane::{Frontend, Member, RowCounts, Rows, SourceRange},
};

impl Services {
    pub(super) fn put_service(&mut self, number: u32, row: ServiceRow) {
        let Some(v4) = self.meant.get(&number).map(|meant| meant.v4) else { return };
        let arena = &mut self.arenas[usize::from(v4)];
        if let Some(old) = self.rows.insert(number, row) {
            arena.retire(old.base(), extent(v4, old));
        }
        let backends = if row.n_all() > 0 {
            arena.take(row.base());
            self.filled.remove(&(v4, row.base())).unwrap_or_default()
        } else {
            Arc::default()
        };
        self.backends.set(number, backends);
        self.numbers.take(number);
        if !self.naming.contains_key(&number) {
            self.unnamed.insert(number);
        }
    }

    pub(super) fn put_frontend(&mut self, frontend: Frontend, row: FrontendRow) {
        let old = self.frontends.insert(frontend, row);
        if old.is_none() {
            self.counts.add(Table::Frontends, frontend.addr.is_ipv4());
        }
        if row.flags & flags::WHOLE != 0 {
            self.whole.put(frontend.addr, ());
            return;
        }
        self.of_svc.entry(row.svc).or_default().insert(frontend);
        for number in [row.near, row.far] {
            *self.naming.entry(number).or_default() += 1;
            self.unnamed.remove(&number);
        }
        if let Some(old) = old {
            if old.svc != row.svc {
                self.leave(old.svc, &frontend);
            }
            self.let_go(old);
        }
    }

    pub(super) fn delete_frontend(&mut self, frontend: Frontend) {
        let Some(row) = self.frontends.remove(&frontend) else { return };
        self.counts.subtract(Table::Frontends, frontend.addr.is_ipv4());
        if row.flags & flags::WHOLE != 0 {
            self.whole.delete(&frontend.addr);
            return;
        }
        self.leave(row.svc, &frontend);
        self.let_go(row);
    }

    pub(super) fn put_member(&mut self, Member { svc, backend }: Member) {
        if self.members.entry(svc).or_default().insert(backend) {
            self.counts.add(Table::Members, backend.addr.is_ipv4());
        }
    }

    pub(super) fn delete_member(&mut self, Member { svc, backend }: Member) {
        if take(&mut self.members, svc, &backend) {
            self.counts.subtract(Table::Members, backend.addr.is_ipv4());
        }
    }

    pub(super) fn put_range(&mut self, SourceRange { svc, net }: SourceRange) {
        if self.ranges.entry(svc).or_default().insert(net) {
            self.counts.add(Table::Ranges, net.addr().is_ipv4());
        }
    }

    pub(super) fn delete_range(&mut self, SourceRange { svc, net }: SourceRange) {
        if take(&mut self.ranges, svc, &net) {
            self.counts.subtract(Table::Ranges, net.addr().is_ipv4());
        }
    }

    /// A frontend is no way into a port of a Service any more.
    fn leave(&mut self, svc: u32, frontend: &Frontend) {
        let Some(ways) = self.of_svc.get_mut(&svc) else { return };
        ways.remove(frontend);
        if ways.is_empty() {
            self.of_svc.remove(&svc);
        }
    }

    /// A frontend does not name its rows any more; another one may in a moment.
    fn let_go(&mut self, row: FrontendRow) {
        for number in [row.near, row.far] {
            let Some(count) = self.naming.get_mut(&number) else { continue };
            *count -= 1;
            if *count == 0 {
                self.naming.remove(&number);
                self.unnamed.insert(number);
            }
        }
    }

    pub(super) fn forget_unnamed(&mut self) {
        for number in std::mem::take(&mut self.unnamed) {
            self.forget(number);
        }
    }

    /// No frontend names the row any more.
    fn forget(&mut self, number: u32) {
        self.numbers.retire(number);
        self.backends.forget(number);
        let v4 = self.meant.remove(&number).is_some_and(|meant| meant.v4);
        if let Some(row) = self.rows.remove(&number) {
            self.arenas[usize::from(v4)].retire(row.base(), extent(v4, row));
        }
    }

    /// Whether a row holds the set that is wanted for a view.
    pub(super) fn holds(&self, number: u32, view: View, wanted: &Balanced) -> bool {
        let Some(row) = self.rows.get(&number) else { return false };
        let set = wanted.set(view);
        if set.all.is_empty() {
            return *row == wanted.row_of_nobody(view);
        }
        if row.has_ring() != wanted.has_ring(view) {
            return false;
        }
        row.n_local() as usize == set.n_local && *self.backends.of(number) == *set.all
    }

    /// Whether a way in is there as it is wanted, with the backends that are wanted.
    pub(in crate::plan) fn serves(&self, frontend: &Frontend, way: &Way, wanted: &Balanced) -> bool {
        self.frontends.get(frontend).is_some_and(|row| {
            (row.flags, row.affinity) == (way.flags, way.affinity)
                && self.holds(row.near, way.near, wanted)
                && self.holds(row.far, way.far, wanted)
        })
    }

    pub(in crate::plan) fn in_quarantine(&self) -> bool {
        self.numbers.in_quarantine() || self.arenas.iter().any(super::Arena::in_quarantine)
    }

    /// The rows of the tables of Services, and of no others.
    pub(in crate::plan) fn row_counts(&self) -> RowCounts {
        RowCounts {
            frontends: self.counts.of(Table::Frontends),
            services: self.rows.len(),
            backends: self.backends.counts(),
            members: self.counts.of(Table::Members),
            ranges: self.counts.of(Table::Ranges),
            service_nets: self.counts.of(Table::Nets),
            cluster: self.counts.of(Table::Cluster),
            ..RowCounts::default()
        }
    }

    pub(in crate::plan) fn rows(&self) -> Rows {
        let members = self.members.iter();
        let members = members.flat_map(|(svc, of)| of.iter().map(|b| Member { svc: *svc, backend: *b }));
        let ranges = self.ranges.iter();
        let ranges = ranges.flat_map(|(svc, of)| of.iter().map(|net| SourceRange { svc: *svc, net: *net }));
        Rows {
            frontends: self.frontends.clone(),
            services: self.rows.clone(),
            backends: self.backends.rows(),
            members: members.collect(),
            ranges: ranges.collect(),
            service_nets: self.nets.actual().keys().copied().collect(),
            cluster: self.cluster.actual().clone(),
            ..Rows::default()
        }
    }
}

/// How many rows of the arena of a family a service row names.
pub(super) const fn extent(v4: bool, row: ServiceRow) -> u32 {
    let row_bytes = if v4 { size_of::<Backend4>() } else { size_of::<Backend6>() };
    ring::arena_rows(row, (row_bytes / size_of::<u64>()) as u32)
}

/// Takes a value out of a map of sets, and the set with its last value. Whether it was there.
fn take<V: Ord>(map: &mut BTreeMap<u32, BTreeSet<V>>, key: u32, value: &V) -> bool {
    let Some(set) = map.get_mut(&key) else { return false };
    let was = set.remove(value);
    if set.is_empty() {
        map.remove(&key);
    }
    was
}
