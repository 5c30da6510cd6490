//! The change of Services. Each set of backends changes by one store, each way in by one row.

mod adopt;
mod change;
mod cluster;
mod count;
mod sets;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use count::{Counts, Table};
use ipnet::IpNet;
use netpol_common::{
    net::proto,
    service::{FrontendRow, ServiceRow, flags},
};

use state::extent;

use super::{
    Refusal,
    arena::Arena,
    numbers::Numbers,
    track::{Diff, Track},
};
use crate::{
    compile::{Desired, PortOfService, View},
    dataplane::{Backend, Capacity, ClusterRow, Frontend, Op, Rows},
    few::Few,
};

/// A row that stands for a whole address names no backends.
const NOBODY: u32 = u32::MAX;

/// What the service tables hold, and which Services may differ from what is wanted.
#[derive(Debug)]
pub(super) struct Services {
    capacity: Capacity,
    frontends: BTreeMap<Frontend, FrontendRow>,
    rows: BTreeMap<u32, ServiceRow>,
    backends: sets::Sets,
    /// By [`FrontendRow::svc`].
    members: BTreeMap<u32, BTreeSet<Backend>>,
    /// By [`FrontendRow::svc`].
    ranges: BTreeMap<u32, BTreeSet<IpNet>>,
    whole: Track<IpAddr, ()>,
    nets: Track<IpNet, ()>,
    /// Who in the cluster addresses are.
    cluster: Track<IpAddr, ClusterRow>,
    counts: Counts,
    /// Ways in by [`FrontendRow::svc`].
    of_svc: BTreeMap<u32, Few<Frontend>>,
    /// How often frontends name each row.
    naming: BTreeMap<u32, usize>,
    /// What rows are for, as soon as one is meant for something.
    meant: BTreeMap<u32, Meant>,
    /// Rows that no frontend names yet, or any more: until the plan is carried out, one may.
    unnamed: BTreeSet<u32>,
    /// Contents of ranges that were filled, until a row names them; by family (is IPv4) and first row.
    filled: BTreeMap<(bool, u32), Arc<[Backend]>>,
    /// Rows of `np_svc`.
    numbers: Numbers,
    /// [`FrontendRow::svc`]
    svcs: Numbers,
    svc_of: BTreeMap<PortOfService, u32>,
    /// Numbers of Services' ports that an agent before this one gave out, until it is known whose they are.
    unowned: BTreeSet<u32>,
    /// Those that turned out to be nobody's.
    orphans: BTreeSet<u32>,
    /// Numbers that connections of another version know, by ways in, until it is known whose they are: [`Rows::given`].
    given: BTreeMap<Frontend, u32>,
    /// IPv6, IPv4.
    arenas: [Arena; 2],
    pending: BTreeSet<PortOfService>,
}

/// What a row of `np_svc` is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Meant {
    v4: bool,
    /// `None`: a row found at start whose Service is not known.
    view: Option<View>,
}

/// The change of services.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) ops: Vec<Op>,
    /// What nothing names any more: after a grace period.
    pub(super) sweep: Vec<Op>,
    /// Rows or ranges become free.
    pub(super) retires: bool,
    /// Something has found no room, and may find it when these are free.
    pub(super) waits: bool,
    /// Services that stay as they are.
    pub(super) refusals: Vec<Refusal>,
}

impl Services {
    pub(super) fn new(capacity: &Capacity, actual: &Rows) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let arena = || Arena::new(number(capacity.backends).min(ServiceRow::MAX_BASE));
        let whole = actual.frontends.iter().filter(|(_, row)| row.flags & flags::WHOLE != 0);
        let mut new = Self {
            capacity: *capacity,
            frontends: BTreeMap::new(),
            rows: actual.services.clone(),
            backends: sets::Sets::new(&actual.backends),
            members: BTreeMap::new(),
            ranges: BTreeMap::new(),
            whole: Track::new(whole.map(|(frontend, _)| (frontend.addr, ())).collect()),
            nets: Track::new(actual.service_nets.iter().map(|net| (*net, ())).collect()),
            cluster: Track::new(actual.cluster.clone()),
            counts: Counts::default(),
            of_svc: BTreeMap::new(),
            naming: BTreeMap::new(),
            meant: BTreeMap::new(),
            unnamed: BTreeSet::new(),
            filled: BTreeMap::new(),
            numbers: Numbers::new(number(capacity.services), actual.services.keys().copied().collect()),
            svcs: Numbers::new(NOBODY, BTreeSet::new()),
            svc_of: BTreeMap::new(),
            unowned: BTreeSet::new(),
            orphans: BTreeSet::new(),
            given: BTreeMap::new(),
            arenas: [arena(), arena()],
            pending: BTreeSet::new(),
        };
        for net in &actual.service_nets {
            new.counts.add(Table::Nets, net.addr().is_ipv4());
        }
        for addr in actual.cluster.keys() {
            new.counts.add(Table::Cluster, addr.is_ipv4());
        }
        for (frontend, row) in &actual.frontends {
            for number in [row.near, row.far].into_iter().filter(|_| row.flags & flags::WHOLE == 0) {
                let v4 = frontend.addr.is_ipv4();
                if let (None, Some(service)) = (new.naming.get(&number), new.rows.get(&number)) {
                    new.arenas[usize::from(v4)].occupy(service.base(), extent(v4, *service));
                }
                new.meant.insert(number, Meant { v4, view: None });
            }
            new.put_frontend(*frontend, *row);
        }
        actual.members.iter().for_each(|member| new.put_member(*member));
        actual.ranges.iter().for_each(|range| new.put_range(*range));
        let known = new.of_svc.keys().chain(new.members.keys()).chain(new.ranges.keys());
        new.unowned = known.copied().collect();
        // Rows of this version know better.
        let given = actual.given.iter().filter(|(_, svc)| !new.unowned.contains(svc));
        new.given = given.map(|(way, svc)| (*way, *svc)).collect();
        new.svcs = Numbers::new(NOBODY, new.unowned.iter().chain(new.given.values()).copied().collect());
        new
    }

    pub(super) fn touch(&mut self, desired: &mut Desired) {
        self.pending.extend(desired.services.take_touched());
        self.whole.touch(desired.whole.take_touched());
        self.nets.touch(desired.service_nets.take_touched());
        self.cluster.touch(desired.cluster.take_touched());
    }

    pub(super) fn plan(&mut self, desired: &Desired) -> Steps {
        self.forget_unnamed();
        self.numbers.begin();
        self.arenas.iter_mut().for_each(Arena::begin);
        self.filled.clear();
        self.adopt(desired.services.rows());
        let mut room = self.counts;
        let mut steps = self.plan_ports(desired.services.rows(), &mut room);
        self.plan_addresses(desired, &mut room, &mut steps);
        self.plan_cluster(desired, &mut room, &mut steps);
        // What this plan or an earlier one retires is free for the next plan: then there may be room.
        if steps.retires || self.in_quarantine() {
            steps.waits = !steps.refusals.is_empty();
            steps.refusals.clear();
        }
        steps
    }

    /// Whole addresses and the prefixes that they are taken from: they come after the ports that are served under them, and go
    /// before them. A port that is gone from an address that is still a Service's would refuse its clients, which neither the
    /// old nor the new state does.
    fn plan_addresses(&mut self, desired: &Desired, room: &mut Counts, steps: &mut Steps) {
        let Diff { puts, deletes } = self.whole.diff(desired.whole.rows());
        let mut withdrawn = Vec::new();
        for addr in deletes {
            withdrawn.push(Op::DeleteFrontend(Frontend::whole(addr)));
            room.subtract(Table::Frontends, addr.is_ipv4());
        }
        let row = FrontendRow { svc: NOBODY, near: NOBODY, far: NOBODY, flags: flags::WHOLE, affinity: 0 };
        for (addr, ()) in puts {
            match room.admit(Table::Frontends, addr.is_ipv4(), &self.capacity) {
                Ok(()) => steps.ops.push(Op::PutFrontend(Frontend::whole(addr), row)),
                Err(shortage) => {
                    room.subtract(Table::Frontends, addr.is_ipv4());
                    steps.refusals.push(Refusal::Address { addr, shortage });
                }
            }
        }
        let Diff { puts, deletes } = self.nets.diff(desired.service_nets.rows());
        for net in deletes {
            withdrawn.push(Op::DeleteServiceNet(net));
            room.subtract(Table::Nets, net.addr().is_ipv4());
        }
        for (net, ()) in puts {
            match room.admit(Table::Nets, net.addr().is_ipv4(), &self.capacity) {
                Ok(()) => steps.ops.push(Op::PutServiceNet(net)),
                Err(shortage) => {
                    room.subtract(Table::Nets, net.addr().is_ipv4());
                    steps.refusals.push(Refusal::ServiceNet { net, shortage });
                }
            }
        }
        steps.ops.splice(..0, withdrawn);
    }

    /// Whether an operation may alter what becomes of a connection that was judged before: it loses its Service or the
    /// right to it, or its backend if it must not keep it. TCP connections keep theirs, so a set may lose a backend.
    pub(super) fn alters(&self, op: &Op) -> bool {
        match op {
            Op::PutFrontend(frontend, new) => {
                self.frontends.get(frontend).is_none_or(|old| (old.svc, old.flags) != (new.svc, new.flags))
            }
            Op::DeleteFrontend(_) => true,
            Op::DeleteMember(member) => self.asks_for_members(member.svc),
            Op::DeleteRange(range) => self.asks_for_ranges(range.svc),
            _ => false,
        }
    }

    fn asks_for_ranges(&self, svc: u32) -> bool {
        self.ways(svc).any(|(_, row)| row.flags & flags::SOURCE_RANGES != 0)
    }

    /// Whether a connection may lose its backend for not being a member: not an established one over TCP, unless there is affinity.
    fn asks_for_members(&self, svc: u32) -> bool {
        let mut ways = self.ways(svc).peekable();
        ways.peek().is_none() || ways.any(|(way, row)| way.proto != proto::TCP || row.affinity > 0)
    }

    /// The ways into a Service's port that are there.
    fn ways(&self, svc: u32) -> impl Iterator<Item = (Frontend, FrontendRow)> {
        let ways = self.of_svc.get(&svc).into_iter().flatten();
        ways.filter_map(|frontend| Some((*frontend, *self.frontends.get(frontend)?)))
    }

    pub(super) fn applied(&mut self, op: &Op) {
        match op {
            Op::WriteBackends { base, backends } => {
                let v4 = backends.first().is_some_and(|b| b.addr.is_ipv4());
                self.filled.insert((v4, *base), backends.clone());
            }
            Op::PutService(number, row) => self.put_service(*number, *row),
            Op::PutFrontend(frontend, row) => self.put_frontend(*frontend, *row),
            Op::DeleteFrontend(frontend) => self.delete_frontend(*frontend),
            Op::PutMember(member) => self.put_member(*member),
            Op::DeleteMember(member) => self.delete_member(*member),
            Op::PutRange(range) => self.put_range(*range),
            Op::DeleteRange(range) => self.delete_range(*range),
            Op::PutServiceNet(net) => {
                if !self.nets.actual().contains_key(net) {
                    self.counts.add(Table::Nets, net.addr().is_ipv4());
                }
                self.nets.put(*net, ());
            }
            Op::DeleteServiceNet(net) => {
                self.counts.subtract(Table::Nets, net.addr().is_ipv4());
                self.nets.delete(net);
            }
            Op::PutCluster(addr, row) => self.put_cluster(*addr, *row),
            Op::DeleteCluster(addr) => self.delete_cluster(addr),
            Op::AwaitGrace => {
                self.forget_unnamed();
                self.numbers.grace();
                self.arenas.iter_mut().for_each(Arena::grace);
            }
            _ => {}
        }
    }
}
