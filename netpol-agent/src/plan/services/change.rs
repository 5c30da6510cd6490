use std::collections::{BTreeMap, BTreeSet};

use netpol_common::{
    logic::ring::SLOTS,
    names,
    service::{FrontendRow, ServiceRow, flags},
};

use super::{
    super::{Refusal, Shortage},
    Meant, Services, Steps,
    count::{Counts, Table},
    state::extent,
};
use crate::{
    compile::{Backends, Balanced, PortOfService, View, ring},
    dataplane::{Frontend, Member, Op, SourceRange},
};

/// The change of one Service's port, or of all that go, in this order.
#[derive(Debug, Default)]
struct Change {
    /// Ways in that go, then what new ones need, then those.
    ops: Vec<Op>,
    /// What the old ones needed: when no set names it any more.
    tail: Vec<Op>,
    /// The same, where packets may still be asking for it.
    sweep: Vec<Op>,
    retires: bool,
}

/// The change of a port's sets.
#[derive(Debug, Default)]
struct Sets {
    /// Rows that no way in names yet.
    fresh: Vec<Op>,
    /// Rows that ways in name.
    swaps: Vec<Op>,
    retires: bool,
}

impl Change {
    fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.tail.is_empty() && self.sweep.is_empty()
    }

    fn append(&mut self, mut other: Self) {
        self.ops.append(&mut other.ops);
        self.tail.append(&mut other.tail);
        self.sweep.append(&mut other.sweep);
        self.retires |= other.retires;
    }

    fn leave(&mut self, way: Frontend, room: &mut Counts) {
        self.ops.push(Op::DeleteFrontend(way));
        room.subtract(Table::Frontends, way.addr.is_ipv4());
        self.retires = true;
    }
}

impl Services {
    pub(super) fn plan_ports(
        &mut self,
        desired: &BTreeMap<PortOfService, Box<Balanced>>,
        room: &mut Counts,
    ) -> Steps {
        let pending = std::mem::take(&mut self.pending);
        let (stay, go): (Vec<_>, Vec<_>) = pending.into_iter().partition(|port| desired.contains_key(port));
        let stay: Vec<_> = stay.into_iter().filter_map(|port| Some((desired.get(&port)?, port))).collect();
        // A way in that passes from one Service to another does so by one write.
        let passing: BTreeSet<Frontend> = stay.iter().flat_map(|(to, port)| self.gained(port, to)).collect();
        let mut all = Change::default();
        for port in go {
            let Some(svc) = self.svc_of.get(&port).copied() else { continue };
            if self.plan_removal(svc, &passing, room, &mut all) {
                self.pending.insert(port);
            } else {
                self.svc_of.remove(&port);
                self.svcs.retire(svc);
                // Nothing names it any more, and it is given out again only after all others were.
                self.svcs.grace();
            }
        }
        for svc in std::mem::take(&mut self.orphans) {
            if self.plan_removal(svc, &passing, room, &mut all) {
                self.orphans.insert(svc);
            }
        }
        let mut refusals = Vec::new();
        for (wanted, port) in stay {
            let mut admitted = *room;
            match self.plan_port(&port, wanted, &passing, &mut admitted) {
                Ok(change) if change.is_empty() => continue,
                Ok(change) => {
                    all.append(change);
                    *room = admitted;
                }
                Err(shortage) => {
                    // What is not another's any more must not go on leading there.
                    self.gained(&port, wanted).for_each(|way| all.leave(way, room));
                    refusals.push(Refusal::Service { port: port.clone(), shortage });
                }
            }
            self.pending.insert(port);
        }
        let Change { mut ops, mut tail, sweep, retires } = all;
        ops.append(&mut tail);
        Steps { ops, sweep, retires, waits: false, refusals }
    }

    /// Ways in that another Service has.
    fn gained<'a>(
        &'a self,
        port: &PortOfService,
        wanted: &'a Balanced,
    ) -> impl Iterator<Item = Frontend> + 'a {
        let own = self.svc_of.get(port).copied();
        let others = move |way: &&Frontend| self.frontends.get(way).is_some_and(|row| Some(row.svc) != own);
        wanted.frontends().filter(others).copied()
    }

    /// Whether anything of it is there.
    fn plan_removal(
        &self,
        svc: u32,
        passing: &BTreeSet<Frontend>,
        room: &mut Counts,
        change: &mut Change,
    ) -> bool {
        for (way, _) in self.ways(svc).filter(|(way, _)| !passing.contains(way)) {
            change.leave(way, room);
        }
        let members = self.members.get(&svc).into_iter().flatten();
        change.tail.extend(members.map(|backend| Op::DeleteMember(Member { svc, backend: *backend })));
        let ranges = self.ranges.get(&svc).into_iter().flatten();
        change.sweep.extend(ranges.map(|net| Op::DeleteRange(SourceRange { svc, net: *net })));
        self.of_svc.contains_key(&svc) || self.members.contains_key(&svc) || self.ranges.contains_key(&svc)
    }

    fn plan_port(
        &mut self,
        port: &PortOfService,
        wanted: &Balanced,
        passing: &BTreeSet<Frontend>,
        room: &mut Counts,
    ) -> Result<Change, Shortage> {
        let (svc, v4, capacity) = (self.svc(port)?, port.v4, self.capacity);
        let mut change = Change::default();
        let ways: Vec<_> = self.ways(svc).collect();
        for (way, _) in ways.iter().filter(|(way, _)| wanted.way(way).is_none() && !passing.contains(way)) {
            change.leave(*way, room);
        }
        let members = self.members.get(&svc);
        for backend in wanted.members.iter().filter(|b| members.is_none_or(|known| !known.contains(b))) {
            room.admit(Table::Members, v4, &capacity)?;
            change.ops.push(Op::PutMember(Member { svc, backend: *backend }));
        }
        let ranges = self.ranges.get(&svc);
        for net in wanted.ranges.iter().filter(|net| ranges.is_none_or(|known| !known.contains(net))) {
            room.admit(Table::Ranges, v4, &capacity)?;
            change.ops.push(Op::PutRange(SourceRange { svc, net: *net }));
        }

        let mut sets = Sets::default();
        let cluster = self.plan_set(svc, port, View::Cluster, (wanted, passing), &mut sets)?;
        let local = self.plan_set(svc, port, View::Local, (wanted, passing), &mut sets)?;
        let number = |view| match view {
            View::Cluster => cluster,
            View::Local => local,
        };
        let mut puts = Vec::new();
        for (way, wanted) in &wanted.ways {
            let (Some(near), Some(far)) = (number(wanted.near), number(wanted.far)) else { continue };
            let row = FrontendRow { svc, near, far, flags: wanted.flags, affinity: wanted.affinity };
            match self.frontends.get(way) {
                Some(old) if *old == row => continue,
                Some(old) => change.retires |= (old.near, old.far) != (near, far),
                None => room.admit(Table::Frontends, v4, &capacity)?,
            }
            puts.push(Op::PutFrontend(*way, row));
        }
        change.retires |= sets.retires;
        change.ops.append(&mut sets.fresh);
        // As long as clients keep their backends, those must be members: affinity ends before its sets change.
        let ends = self.affinity_ends(svc, wanted);
        let is_there =
            |op: &Op| matches!(op, Op::PutFrontend(way, _) if ways.iter().any(|(known, _)| known == way));
        let (mut first, mut last) = puts.into_iter().partition::<Vec<Op>, _>(|op| ends && is_there(op));
        change.ops.append(&mut first);
        change.ops.append(&mut sets.swaps);
        change.ops.append(&mut last);

        if !wanted.keeps_last_backends() {
            let stale = self.members.get(&svc).into_iter().flatten().filter(|b| !wanted.members.contains(b));
            change.tail.extend(stale.map(|backend| Op::DeleteMember(Member { svc, backend: *backend })));
        }
        let stale = self.ranges.get(&svc).into_iter().flatten().filter(|net| !wanted.ranges.contains(net));
        let stale = stale.map(|net| Op::DeleteRange(SourceRange { svc, net: *net }));
        // Where everybody is let in from now on, packets may be asking who is.
        let asks = wanted.ways.iter().any(|(_, way)| way.flags & flags::SOURCE_RANGES != 0);
        if asks {
            change.tail.extend(stale)
        } else {
            change.sweep.extend(stale)
        }
        Ok(change)
    }

    /// Whether clients keep their backends until this change.
    fn affinity_ends(&self, svc: u32, wanted: &Balanced) -> bool {
        wanted.members.is_empty() && self.ways(svc).any(|(_, row)| row.affinity > 0)
    }

    /// The row of a set, filled with what is wanted; `None` if no way in needs it. A row stays as it is until
    /// ways in have left it that pass to another Service, or to the other set.
    fn plan_set(
        &mut self,
        svc: u32,
        port: &PortOfService,
        view: View,
        (wanted, passing): (&Balanced, &BTreeSet<Frontend>),
        sets: &mut Sets,
    ) -> Result<Option<u32>, Shortage> {
        if !wanted.ways.iter().any(|(_, way)| way.near == view || way.far == view) {
            return Ok(None);
        }
        let mut known = self.row_of(svc, view, wanted);
        let (set, v4) = (wanted.set(view), port.v4);
        if let Some(number) = known
            && (self.holds(number, view, wanted) || wanted.keeps_last_backends() && self.has_backends(number))
        {
            self.backends.share(number, &set.all);
            return Ok(known);
        }
        let ends = self.affinity_ends(svc, wanted);
        let leaves = |(way, row): (Frontend, FrontendRow)| match wanted.way(&way) {
            Some(wanted) => [(row.near, wanted.near), (row.far, wanted.far)].into_iter().any(|(is, to)| {
                // Where affinity ends, the way in joins the set before that changes.
                let joins = ends && to == view && Some(is) != known;
                joins || Some(is) == known && to != view
            }),
            None => passing.contains(&way) && [Some(row.near), Some(row.far)].contains(&known),
        };
        if self.ways(svc).any(leaves) {
            known = None;
        }
        let mut ops = Vec::new();
        let row = match set.all.len() {
            0 => wanted.row_of_nobody(view),
            _ => {
                let row = self.reserve(v4, set, wanted.has_ring(view))?;
                ops.push(Op::WriteBackends { base: row.base(), backends: set.all.clone() });
                if row.has_ring() {
                    let base = row.base() + row.n_all();
                    ops.push(Op::WriteRing { v4, base, words: ring(&set.all) });
                }
                row
            }
        };
        let number = known.or_else(|| self.numbers.reserve()).ok_or(Shortage {
            map: names::SVC,
            need: self.rows.len() + 1,
            capacity: self.capacity.services,
        })?;
        ops.push(Op::PutService(number, row));
        if known.is_some() {
            sets.retires |= self.has_backends(number);
            sets.swaps.append(&mut ops);
        } else {
            self.meant.insert(number, Meant { v4, view: Some(view) });
            sets.fresh.append(&mut ops);
        }
        Ok(Some(number))
    }

    /// A range of the arena for a set that is not empty.
    fn reserve(&mut self, v4: bool, set: &Backends, with_ring: bool) -> Result<ServiceRow, Shortage> {
        let (arena, n) = (&mut self.arenas[usize::from(v4)], set.all.len());
        let map = if v4 { names::BE4 } else { names::BE6 };
        let counts = u32::try_from(n).ok().zip(u32::try_from(set.n_local).ok());
        let shape = |base| {
            let (n, n_local) = counts?;
            let row = ServiceRow::new(base, n_local, n)?;
            if with_ring { row.with_ring() } else { Some(row) }
        };
        let Some(unplaced) = shape(0) else {
            let capacity = if with_ring { SLOTS } else { ServiceRow::MAX_BACKENDS };
            return Err(Shortage { map, need: n, capacity: capacity as usize });
        };
        let rows = extent(v4, unplaced);
        arena.reserve(rows).and_then(shape).ok_or_else(|| Shortage {
            map,
            need: (arena.in_use() + rows) as usize,
            capacity: self.capacity.backends,
        })
    }

    /// The number of a Service's port.
    fn svc(&mut self, port: &PortOfService) -> Result<u32, Shortage> {
        if let Some(svc) = self.svc_of.get(port) {
            return Ok(*svc);
        }
        let svc = self.svcs.reserve().ok_or(Shortage {
            map: names::SVC,
            need: self.svc_of.len() + 1,
            capacity: self.svc_of.len(),
        })?;
        self.svcs.take(svc);
        self.svc_of.insert(port.clone(), svc);
        Ok(svc)
    }

    /// The row that ways into a Service's port name for a view, those that stay.
    fn row_of(&self, svc: u32, view: View, wanted: &Balanced) -> Option<u32> {
        let stay = self.ways(svc).filter(|(way, _)| wanted.way(way).is_some());
        stay.flat_map(|(_, row)| [row.near, row.far])
            .find(|number| self.meant.get(number).is_some_and(|m| m.view == Some(view)))
    }

    fn has_backends(&self, number: u32) -> bool {
        !self.backends.of(number).is_empty()
    }
}
