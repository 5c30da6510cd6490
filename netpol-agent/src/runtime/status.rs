use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    health::{Checks, Told},
    kept::Kept,
    pulse::Pulse,
};
use crate::{
    ctl::Measures,
    dataplane::kernel::{Fill, Jiffies, Look, Unpoliced},
    engine::{
        Engine, Refusal,
        view::{EndpointView, PendingReason},
    },
    index,
    model::{self, Level, Manifest, Mode, Name, ObjectRef, Problem},
    oracle::{ObjectName, World},
};

/// What the tasks share. Locks are held for moments, never over an `await`.
#[derive(Clone)]
pub struct Shared {
    engine: Arc<RwLock<Engine>>,
    status: Arc<RwLock<Status>>,
    /// Every object as the source delivered it, for the reference evaluator.
    manifests: Arc<RwLock<Kept>>,
    /// Policies that were deleted, as long as the engine remembers them.
    deleted: Arc<RwLock<BTreeMap<Name, NetworkPolicy>>>,
    look: Look,
    unpoliced: Unpoliced,
    reconciler: mpsc::Sender<Asked>,
    settled: Arc<Notify>,
    /// Counts what the loop has acted on.
    turns: watch::Sender<u64>,
    told: Arc<Told>,
    pulse: Pulse,
    measures: Measures,
}

/// Something that the loop is asked to act on at once.
#[derive(Debug)]
pub(super) struct Asked {
    /// What the CNI plugin tells.
    pub(super) wiring: Option<Wired>,
    /// Told when everything that was sent before has been acted on.
    pub(super) done: oneshot::Sender<()>,
}

/// What the CNI plugin tells of a pod's interface.
#[derive(Clone, Debug)]
pub(super) enum Wired {
    Up(Name, index::Wired),
    /// With the name of the attachment.
    Down(Name, String),
}

/// How the agent is doing.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The source has delivered everything once.
    pub synced: bool,
    /// Everything that the source delivered at first has been put in force, as far as it fits.
    pub programmed: bool,
    /// Synced, and the dataplane holds what is wanted.
    pub in_sync: bool,
    /// Why the last attempt to write the dataplane ended early; it is repeated.
    pub failure: Option<String>,
    /// What is wanted and not written, because it does not fit.
    pub refusals: Vec<Refusal>,
    /// What is wrong with the source.
    pub problems: Vec<Problem>,
    /// How many problems of each level there are, all together, as of the last look.
    pub counts: BTreeMap<Level, usize>,
    /// Pins that were not what they should be when the agent started.
    pub put_aside: Vec<Problem>,
    /// Pods that have been pending for too long.
    pub overdue: Vec<Problem>,
    /// Ports where load balancers ask and nobody answers.
    pub unheard: Vec<Problem>,
    /// Why the page in the browser is not served, though it should be.
    pub page: Option<Problem>,
    /// Value of the epoch counter.
    pub epoch: u32,
    /// How full the connection tables are, IPv4 and IPv6.
    pub connections: [Fill; 2],
    /// Entries of both that count against each pod's quota, by interface.
    pub filled: Arc<BTreeMap<u32, u64>>,
    /// One moment on the kernel's clock and on the wall, for dating events.
    pub moment: Option<(Jiffies, SystemTime)>,
}

impl Shared {
    /// And what the loop is asked through.
    pub(super) fn new(engine: Engine, look: Look, unpoliced: Unpoliced) -> (Self, mpsc::Receiver<Asked>) {
        let (reconciler, asked) = mpsc::channel(16);
        (
            Self {
                engine: Arc::new(RwLock::new(engine)),
                status: Arc::default(),
                manifests: Arc::default(),
                deleted: Arc::default(),
                look,
                unpoliced,
                reconciler,
                settled: Arc::default(),
                turns: watch::Sender::new(0),
                told: Arc::default(),
                pulse: Pulse::default(),
                measures: Measures::default(),
            },
            asked,
        )
    }

    /// Returns when everything that the source has sent and every interface that is there at the time of the call has been
    /// acted on, as far as it could be; `false` if the agent is about to end.
    pub async fn caught_up(&self) -> bool {
        if !self.look.now().await {
            return false;
        }
        self.ask(None).await
    }

    /// As [`Shared::caught_up`], with something that the CNI plugin has told before.
    pub(super) async fn caught_up_with(&self, wiring: Wired) -> bool {
        self.look.now().await && self.ask(Some(wiring)).await
    }

    /// Returns when the loop has acted on something that the CNI plugin tells.
    pub(super) async fn tell(&self, wiring: Wired) -> bool {
        self.ask(Some(wiring)).await
    }

    async fn ask(&self, wiring: Option<Wired>) -> bool {
        let (done, wait) = oneshot::channel();
        self.reconciler.send(Asked { wiring, done }).await.is_ok() && wait.await.is_ok()
    }

    /// The engine, to look at. A panic elsewhere does not make what it knows unreadable.
    pub fn engine(&self) -> RwLockReadGuard<'_, Engine> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status as it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Value of the epoch counter.
    pub(super) fn epoch(&self) -> u32 {
        self.status.read().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// The pods of this node, and interfaces without a pod.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointView> {
        let mut endpoints = self.engine().endpoints();
        let filled = self.status().filled;
        for endpoint in &mut endpoints {
            let owner = endpoint.ifindex.and_then(|ifindex| filled.get(&ifindex));
            endpoint.connections = owner.copied().unwrap_or(0);
        }
        // What the engine does not know: that discovery has found an interface, and can put no programs on it.
        for endpoint in endpoints.iter_mut().filter(|e| e.pending == Some(PendingReason::NoInterface)) {
            if endpoint.addresses.iter().any(|addr| self.unpoliced(*addr).is_some()) {
                endpoint.pending = Some(PendingReason::NoVeth);
            }
        }
        // And that a write failed.
        if self.status().failure.is_some() {
            let unwritten = endpoints.iter_mut().filter(|e| e.pending == Some(PendingReason::NotWritten));
            unwritten.for_each(|endpoint| endpoint.pending = Some(PendingReason::WriteFailed));
        }
        endpoints
    }

    /// What is wrong with the source, with the objects and with pods, all of it. Until the source has delivered everything once nothing is
    /// said of objects: half of them make problems that the other half solves.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let Status { mut problems, put_aside, overdue, unheard, page, synced, .. } = self.status();
        problems.extend(put_aside);
        problems.extend(overdue);
        problems.extend(unheard);
        problems.extend(page);
        if synced {
            problems.extend(self.engine().problems());
        }
        problems
    }

    /// What has an address that no program can police, in words.
    pub(super) fn unpoliced(&self, addr: IpAddr) -> Option<String> {
        self.unpoliced.what(addr)
    }

    /// What load balancers are told.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// What they are to be told once the maps hold what is wanted.
    pub(super) fn checks(&self) -> Checks {
        let engine = self.engine();
        Checks { addresses: engine.node_port_addresses(), ready: engine.health_checks().clone() }
    }

    /// Beaten by the loop.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// What the loop measures.
    pub(super) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Returns when the loop has acted on something since the last call. For one task only.
    pub(super) async fn settled(&self) {
        self.settled.notified().await;
    }

    /// Changes whenever the loop has acted on something. For any number of tasks.
    pub(super) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    pub(super) fn announce_settled(&self) {
        self.settled.notify_one();
        self.turns.send_modify(|turns| *turns = turns.wrapping_add(1));
    }

    /// Every object that the source has delivered and not taken back, and what is in force all the same.
    #[must_use]
    pub fn world(&self) -> World {
        let engine = self.engine();
        let manifests = self.manifests.read().unwrap_or_else(PoisonError::into_inner);
        let mut world: World = manifests.manifests().collect();
        let deleted = self.deleted.read().unwrap_or_else(PoisonError::into_inner);
        let kept = deleted.iter().filter(|(name, _)| engine.is_kept(name));
        world.kept = kept.map(|(_, policy)| policy.clone()).collect();
        let closed = engine.closed_by_inheritance().into_iter();
        let closed = closed.map(|(pod, d)| {
            (ObjectName { namespace: pod.namespace.to_string(), name: pod.name.to_string() }, d)
        });
        world.closed = closed.collect();
        world.audit = engine.mode() == Mode::Audit;
        world
    }

    /// A policy as the source has it, or had it if it was deleted and is in force all the same.
    #[must_use]
    pub fn policy(&self, name: &Name) -> Option<NetworkPolicy> {
        let kept = self.engine().is_kept(name);
        let manifests = self.manifests.read().unwrap_or_else(PoisonError::into_inner);
        match manifests.get(&name.of_kind("NetworkPolicy")) {
            Some(Manifest::NetworkPolicy(policy)) => Some(*policy),
            _ if kept => self.deleted.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned(),
            _ => None,
        }
    }

    pub(super) fn keep(&self, manifest: &Manifest) {
        let mut manifests = self.manifests.write().unwrap_or_else(PoisonError::into_inner);
        manifests.insert(&model::reference(manifest), manifest);
    }

    pub(super) fn forget(&self, object: &ObjectRef) {
        let mut manifests = self.manifests.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Manifest::NetworkPolicy(policy)) = manifests.remove(object) {
            let name = Name::new(&object.namespace, &object.name);
            self.deleted.write().unwrap_or_else(PoisonError::into_inner).insert(name, *policy);
        }
    }

    /// Forgets deleted policies as soon as the engine does.
    pub(super) fn forget_deleted(&self) {
        let engine = self.engine();
        let mut deleted = self.deleted.write().unwrap_or_else(PoisonError::into_inner);
        deleted.retain(|name, _| engine.remembers(name));
    }

    /// The time of an event of the kernel. What comes before its clock is known has happened just now.
    pub(super) fn time_of(&self, jiffies: u64) -> SystemTime {
        let now = SystemTime::now();
        let moment = self.status.read().unwrap_or_else(PoisonError::into_inner).moment;
        moment.map_or(now, |(moment, at)| moment.time_of(jiffies, at).min(now))
    }

    pub(super) fn engine_mut(&self) -> RwLockWriteGuard<'_, Engine> {
        self.engine.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.write().unwrap_or_else(PoisonError::into_inner));
    }
}
