use std::collections::{BTreeMap, BTreeSet};

use netpol_common::{
    names,
    service::{FrontendRow, ServiceRow},
};

use super::{Refusal, arena::Arena, capacity::fits, numbers::Numbers};
use crate::{
    compile::Backends,
    dataplane::{Backend, Capacity, Frontend, Op, Rows},
};

/// What the service tables hold.
#[derive(Debug)]
pub(super) struct Services {
    capacity: Capacity,
    frontends: BTreeMap<Frontend, FrontendRow>,
    rows: BTreeMap<u32, ServiceRow>,
    backends: BTreeMap<u32, Vec<Backend>>,
    /// The frontend of each row, as soon as one is meant for it.
    frontend_of: BTreeMap<u32, Frontend>,
    /// Contents of ranges that were filled, until a row names them; by family (is IPv4) and first row.
    filled: BTreeMap<(bool, u32), Vec<Backend>>,
    numbers: Numbers,
    /// IPv6, IPv4.
    arenas: [Arena; 2],
    pending: BTreeSet<Frontend>,
    /// A row that was written and that its frontend does not name yet.
    unnamed: Option<u32>,
}

/// The change of services. Each service changes by one store.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) ops: Vec<Op>,
    /// Rows or ranges become free.
    pub(super) retires: bool,
    /// A connection may be translated otherwise, or not at all.
    pub(super) alters: bool,
    /// Services that stay as they are.
    pub(super) refusals: Vec<Refusal>,
}

impl Services {
    pub(super) fn new(capacity: &Capacity, actual: &Rows) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let arena = || Arena::new(number(capacity.backends).min(ServiceRow::MAX_BASE));
        let mut arenas = [arena(), arena()];
        let mut frontend_of = BTreeMap::new();
        for (frontend, row) in &actual.frontends {
            frontend_of.insert(row.near, *frontend);
            if let Some(service) = actual.services.get(&row.near) {
                arenas[usize::from(frontend.addr.is_ipv4())].occupy(service.base(), service.n_all());
            }
        }
        Self {
            capacity: *capacity,
            numbers: Numbers::new(number(capacity.services), frontend_of.keys().copied().collect()),
            pending: actual.frontends.keys().copied().collect(),
            frontends: actual.frontends.clone(),
            rows: actual.services.clone(),
            backends: actual.backends.clone(),
            frontend_of,
            filled: BTreeMap::new(),
            arenas,
            unnamed: None,
        }
    }

    pub(super) fn touch(&mut self, frontends: BTreeSet<Frontend>) {
        self.pending.extend(frontends);
    }

    pub(super) fn plan(&mut self, desired: &BTreeMap<Frontend, Backends>) -> Result<Steps, Refusal> {
        if let Some(number) = self.unnamed.take() {
            self.forget(number);
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending = pending.into_iter().filter(|f| !self.holds(f, desired.get(f))).collect();
        if self.pending.is_empty() {
            return Ok(Steps::default());
        }
        self.check_capacity(desired)?;
        self.numbers.begin();
        self.arenas.iter_mut().for_each(Arena::begin);
        self.filled.clear();

        let mut steps = Steps::default();
        let gone = self.pending.iter().filter(|f| !desired.contains_key(f));
        steps.ops.extend(gone.map(|frontend| Op::DeleteFrontend(*frontend)));
        steps.retires = !steps.ops.is_empty();
        steps.alters = steps.retires;
        let changed: Vec<Frontend> =
            self.pending.iter().filter(|f| desired.contains_key(f)).copied().collect();
        for frontend in changed {
            let Some(backends) = desired.get(&frontend) else { continue };
            if let Err(refusal) = self.plan_frontend(frontend, backends, &mut steps) {
                // What this plan or an earlier one retires is free for the next plan: then there may be room.
                if !steps.retires && !self.in_quarantine() {
                    steps.refusals.push(refusal);
                }
            }
        }
        Ok(steps)
    }

    /// Fills a free range, and points the service at it.
    fn plan_frontend(&mut self, at: Frontend, wanted: &Backends, steps: &mut Steps) -> Result<(), Refusal> {
        let n = wanted.all.len();
        let (len, n_local) = (u32::try_from(n).ok(), u32::try_from(wanted.n_local).ok());
        let v4 = at.addr.is_ipv4();
        let too_many = Refusal::Capacity {
            map: if v4 { names::BE4 } else { names::BE6 },
            need: n,
            capacity: self.capacity.backends.min(ServiceRow::MAX_BACKENDS as usize),
        };
        let arena = &mut self.arenas[usize::from(v4)];
        let base = match len {
            Some(0) => Some(0),
            Some(len) => arena.reserve(len),
            None => None,
        };
        let Some((base, row)) = base.and_then(|base| Some((base, ServiceRow::new(base, n_local?, len?)?)))
        else {
            return Err(too_many);
        };
        let known = self.frontends.get(&at).map(|row| row.near);
        let number = known.or_else(|| self.numbers.reserve());
        let number = number.ok_or(Refusal::Capacity {
            map: names::SVC,
            need: self.frontends.len() + 1,
            capacity: self.capacity.services,
        })?;
        self.frontend_of.insert(number, at);
        if !wanted.all.is_empty() {
            steps.ops.push(Op::WriteBackends { base, backends: wanted.all.clone() });
        }
        steps.ops.push(Op::PutService(number, row));
        if known.is_none() {
            steps.ops.push(Op::PutFrontend(
                at,
                FrontendRow { svc: number, near: number, far: number, ..FrontendRow::default() },
            ));
        }
        let old = known.and_then(|n| self.backends.get(&n)).map_or(&[][..], Vec::as_slice);
        steps.retires |= !old.is_empty();
        steps.alters |= known.is_none() || old.iter().any(|backend| !wanted.all.contains(backend));
        Ok(())
    }

    fn holds(&self, frontend: &Frontend, desired: Option<&Backends>) -> bool {
        let wanted = desired.map(|b| (u32::try_from(b.n_local).ok(), b.all.as_slice()));
        self.frontend(frontend).map(|(n_local, all)| (Some(n_local), all)) == wanted
    }

    pub(super) fn frontend(&self, frontend: &Frontend) -> Option<(u32, &[Backend])> {
        let number = self.frontends.get(frontend)?.near;
        let row = self.rows.get(&number)?;
        Some((row.n_local(), self.backends.get(&number).map_or(&[], Vec::as_slice)))
    }

    fn check_capacity(&self, desired: &BTreeMap<Frontend, Backends>) -> Result<(), Refusal> {
        fits(names::SVC, desired.len(), self.capacity.services)?;
        for (frontends, backends, v4) in [(names::FE4, names::BE4, true), (names::FE6, names::BE6, false)] {
            let family = || desired.iter().filter(|(f, _)| f.addr.is_ipv4() == v4);
            fits(frontends, family().count(), self.capacity.frontends)?;
            fits(backends, family().map(|(_, b)| b.all.len()).sum(), self.capacity.backends)?;
        }
        Ok(())
    }

    /// Whether a service loses a backend with this row, whose range is filled.
    pub(super) fn loses_backend(&self, number: u32, new: ServiceRow) -> bool {
        let Some(old) = self.backends.get(&number) else { return false };
        let family = self.frontend_of.get(&number).is_some_and(|f| f.addr.is_ipv4());
        match self.filled.get(&(family, new.base())).filter(|_| new.n_all() > 0) {
            Some(new) => old.iter().any(|backend| !new.contains(backend)),
            None => !old.is_empty(),
        }
    }

    pub(super) fn applied(&mut self, op: &Op) {
        match op {
            Op::WriteBackends { base, backends } => {
                let v4 = backends.first().is_some_and(|b| b.addr.is_ipv4());
                self.filled.insert((v4, *base), backends.clone());
            }
            Op::PutService(number, row) => {
                let Some(v4) = self.frontend_of.get(number).map(|f| f.addr.is_ipv4()) else { return };
                let arena = &mut self.arenas[usize::from(v4)];
                if let Some(old) = self.rows.insert(*number, *row) {
                    arena.retire(old.base(), old.n_all());
                }
                let backends = if row.n_all() > 0 {
                    arena.take(row.base());
                    self.filled.remove(&(v4, row.base())).unwrap_or_default()
                } else {
                    Vec::new()
                };
                self.backends.insert(*number, backends);
                self.numbers.take(*number);
                let named = self.frontend_of.get(number).and_then(|f| self.frontends.get(f));
                self.unnamed = named.is_none_or(|row| row.near != *number).then_some(*number);
                self.pending.extend(self.frontend_of.get(number));
            }
            Op::PutFrontend(frontend, row) => {
                self.frontends.insert(*frontend, *row);
                self.unnamed = None;
                self.pending.insert(*frontend);
            }
            Op::DeleteFrontend(frontend) => {
                if let Some(row) = self.frontends.remove(frontend) {
                    self.forget(row.near);
                }
                self.pending.insert(*frontend);
            }
            Op::AwaitGrace => {
                self.numbers.grace();
                self.arenas.iter_mut().for_each(Arena::grace);
            }
            _ => {}
        }
    }

    /// No frontend names the row any more.
    fn forget(&mut self, number: u32) {
        self.numbers.retire(number);
        self.backends.remove(&number);
        let v4 = self.frontend_of.remove(&number).is_some_and(|f| f.addr.is_ipv4());
        if let Some(row) = self.rows.remove(&number) {
            self.arenas[usize::from(v4)].retire(row.base(), row.n_all());
        }
    }

    pub(super) fn in_quarantine(&self) -> bool {
        self.numbers.in_quarantine() || self.arenas.iter().any(Arena::in_quarantine)
    }

    pub(super) fn rows(&self) -> Rows {
        Rows {
            frontends: self.frontends.clone(),
            services: self.rows.clone(),
            backends: self.backends.clone(),
            ..Rows::default()
        }
    }
}
