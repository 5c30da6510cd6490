//! Namespaces that are being deleted: their policies go in any order, while pods still run (CVE-2024-7598).
//!
//! `docs/adr/0070-ending-namespaces.md` says which policies are kept, for whom and how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use netpol_common::direction::Direction;

use super::Index;
use crate::model::{Name, Pod, Policy};

/// Seconds by which the clocks of the API server and of this node may differ, and by which a policy's deletion may have
/// come before its namespace's.
const SLACK_S: i64 = 10;
/// Seconds for which a deleted policy is remembered: its namespace's deletion may be delivered that much later.
const REMEMBERED_S: i64 = 60;

/// What is kept of namespaces that are being deleted.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// When what is delivered now was delivered; seconds since 1970, 0 if nobody says.
    now_s: i64,
    /// Policies that were deleted a moment ago: their namespace may turn out to be ending.
    deleted: BTreeMap<Name, Deleted>,
    /// Policies that are in force although they were deleted.
    kept: BTreeSet<Name>,
    /// Namespaces that were ending when their object went, and that still have pods; with the time when that began.
    gone: BTreeMap<String, i64>,
    /// Which directions the rows isolate that an agent before this one left on an interface.
    inherited: BTreeMap<u32, [bool; 2]>,
}

#[derive(Debug)]
struct Deleted {
    policy: Arc<Policy>,
    at_s: i64,
    /// Delivered since the last look: what comes together has no order.
    fresh: bool,
}

impl Index {
    /// From now on events are delivered at this time, in seconds since 1970.
    pub fn set_time(&mut self, now_s: i64) {
        self.ending.now_s = now_s;
    }

    /// An agent before this one left a row that isolates an interface in these directions.
    pub fn inherit(&mut self, ifindex: u32, isolated: [bool; 2]) {
        self.ending.inherited.insert(ifindex, isolated);
    }

    /// Everything is known: what was inherited counts for pods of ending namespaces only.
    pub fn settle_inherited(&mut self) {
        let outliving: BTreeSet<u32> = self
            .local_pods()
            .filter(|pod| self.outlives_its_namespace(pod))
            .filter_map(|pod| self.interface_of(pod))
            .map(|interface| interface.ifindex)
            .collect();
        self.ending.inherited.retain(|ifindex, _| outliving.contains(ifindex));
    }

    /// Whether a pod stays isolated in a direction although no policy is known that isolates it: its namespace is being
    /// deleted, and the maps say that one did.
    #[must_use]
    pub fn inherits_isolation(&self, pod: &Pod, direction: Direction) -> bool {
        !self.ending.inherited.is_empty()
            && self.outlives_its_namespace(pod)
            && self
                .interface_of(pod)
                .and_then(|interface| self.ending.inherited.get(&interface.ifindex))
                .is_some_and(|isolated| isolated[direction as usize])
    }

    /// Whether a policy is in force although it was deleted, because its namespace is being deleted.
    #[must_use]
    pub fn is_kept(&self, policy: &Name) -> bool {
        self.ending.kept.contains(policy)
    }

    /// The policies that are in force although they were deleted.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Name> {
        self.ending.kept.iter()
    }

    /// Whether a policy was deleted and is, or may yet be, in force because its namespace is being deleted.
    #[must_use]
    pub fn remembers(&self, policy: &Name) -> bool {
        self.is_kept(policy) || self.ending.deleted.contains_key(policy)
    }

    /// Whether a policy of the pod's namespace selects a pod. A kept one selects only pods of the namespace that is
    /// being deleted, not those of another one with the same name.
    #[must_use]
    pub fn selects(&self, policy: &Policy, pod: &Pod) -> bool {
        policy.subject.matches(&pod.labels)
            && (!self.is_kept(&policy.name) || self.outlives_its_namespace(pod))
    }

    /// Whether the namespace that a pod was made in is being deleted, or has been.
    fn outlives_its_namespace(&self, pod: &Pod) -> bool {
        match self.namespaces.get(&*pod.name.namespace) {
            Some(namespace) => namespace.terminating || is_older(pod, namespace.created_s),
            None => self.ending.gone.contains_key(&*pod.name.namespace),
        }
    }

    pub(super) fn delete_policy(&mut self, name: Name) {
        if self.is_kept(&name) {
            return;
        }
        let at_s = self.ending.now_s;
        if let Some(policy) = self.policies.remove(&name) {
            self.ending.deleted.insert(name.clone(), Deleted { policy, at_s, fresh: true });
        }
        self.dirty.policies.insert(name);
    }

    pub(super) fn policy_applied(&mut self, name: &Name) {
        self.ending.kept.remove(name);
        self.ending.deleted.remove(name);
    }

    pub(super) fn namespace_gone(&mut self, name: &str) {
        if let Some(namespace) = self.namespaces.remove(name).filter(|namespace| namespace.terminating) {
            self.ending.gone.insert(name.to_owned(), namespace.terminating_since_s);
        }
    }

    pub(super) fn interface_inherits_no_more(&mut self, ifindex: u32) {
        self.ending.inherited.remove(&ifindex);
    }

    /// Decides which deleted policies stay in force, by what is known now that everything delivered together is.
    pub(super) fn settle_ending(&mut self) {
        self.ending.gone.retain(|name, _| !self.namespaces.contains_key(name));
        let returning: Vec<Name> = {
            let stays = |(name, deleted): &(&Name, &Deleted)| self.stays(&name.namespace, deleted);
            self.ending.deleted.iter().filter(stays).map(|(name, _)| name.clone()).collect()
        };
        for name in returning {
            let Some(deleted) = self.ending.deleted.remove(&name) else { continue };
            self.policies.insert(deleted.policy);
            self.ending.kept.insert(name.clone());
            self.dirty.policies.insert(name);
        }
        let now_s = self.ending.now_s;
        self.ending.deleted.retain(|_, deleted| {
            deleted.fresh = false;
            deleted.at_s + REMEMBERED_S >= now_s
        });
        let over: Vec<Name> =
            self.ending.kept.iter().filter(|name| !self.needs_kept(&name.namespace)).cloned().collect();
        for name in over {
            self.ending.kept.remove(&name);
            self.policies.remove(&name);
            self.dirty.policies.insert(name);
        }
        let left: Vec<String> =
            self.ending.gone.keys().filter(|name| !self.needs_kept(name)).cloned().collect();
        for name in left {
            self.ending.gone.remove(&name);
        }
    }

    fn stays(&self, namespace: &str, deleted: &Deleted) -> bool {
        let began_s = match self.namespaces.get(namespace) {
            Some(namespace) => namespace.terminating.then_some(namespace.terminating_since_s),
            None => self.ending.gone.get(namespace).copied(),
        };
        began_s.is_some_and(|began_s| deleted.fresh || began_s != 0 && deleted.at_s + SLACK_S >= began_s)
    }

    /// Whether pods remain of a namespace that is being deleted, or may yet be told of.
    fn needs_kept(&self, namespace: &str) -> bool {
        let mut pods = self.pods.within(namespace).filter(|pod| pod.policed());
        match self.namespaces.get(namespace) {
            Some(namespace) => namespace.terminating || pods.any(|pod| is_older(pod, namespace.created_s)),
            None => self.ending.gone.contains_key(namespace) && pods.next().is_some(),
        }
    }
}

/// Whether a pod was made before a namespace: then in another one of the same name. Without times it was not.
fn is_older(pod: &Pod, created_s: i64) -> bool {
    pod.created_s != 0 && pod.created_s < created_s
}
