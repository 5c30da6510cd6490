use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use netpol_common::policy::{RuleId, SlotId};

use super::view::{Identity, Name, PodRef, RuleRef, SlotRef};
use crate::{
    compile::Compiler,
    few::Few,
    index::{Dirty, Index},
    model::{Node, Pod},
};

/// Puts names to the numbers in events and connections. What was removed stays known for a while: the last
/// [`Attribution::KEPT`] of each kind, because records arrive after the change that ended what they name.
#[derive(Debug, Default)]
pub struct Attribution {
    rules: Remembered<RuleId, RuleRef>,
    slots: Remembered<SlotId, SlotRef>,
    interfaces: Remembered<u32, PodRef>,
    pods: Remembered<IpAddr, Arc<Pod>>,
    services: Remembered<IpAddr, Identity>,
    nodes: Remembered<IpAddr, Identity>,
    interface_of: BTreeMap<Name, u32>,
    addresses_of_service: BTreeMap<Name, Few<IpAddr>>,
    addresses_of_node: BTreeMap<String, Few<IpAddr>>,
    nodes_version: u64,
    kept: BTreeSet<Name>,
    /// `metadata.generation` of the policies; the last known one of those that were removed.
    generations: Remembered<Name, i64>,
}

impl Attribution {
    /// Removed names that stay resolvable, per kind.
    pub const KEPT: usize = 4096;

    /// The rule behind a number; `None` for the constants of [`RuleId`] and for numbers forgotten long ago.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&RuleRef> {
        self.rules.get(&id)
    }
    /// The policies behind a slot.
    #[must_use]
    pub fn slot(&self, id: SlotId) -> Option<&SlotRef> {
        self.slots.get(&id)
    }
    /// Whether a policy is in force only because its namespace is being deleted.
    #[must_use]
    pub fn is_kept(&self, policy: &Name) -> bool {
        self.kept.contains(policy)
    }
    /// `metadata.generation` of a policy, 0 if it has none or was forgotten long ago.
    #[must_use]
    pub fn generation(&self, policy: &Name) -> i64 {
        self.generations.get(policy).copied().unwrap_or(0)
    }
    /// The pod behind an interface of this node.
    #[must_use]
    pub fn interface(&self, ifindex: u32) -> Option<&PodRef> {
        self.interfaces.get(&ifindex)
    }
    /// Another number whenever a node or its addresses may have changed.
    #[must_use]
    pub fn nodes_version(&self) -> u64 {
        self.nodes_version
    }
    /// Who has an address.
    #[must_use]
    pub fn address(&self, addr: IpAddr) -> Option<Identity> {
        let pod = |pod: Option<&Arc<Pod>>| pod.map(|pod| Identity::Pod(pod_ref(pod)));
        let others = [&self.services, &self.nodes];
        pod(self.pods.live.get(&addr))
            .or_else(|| others.iter().find_map(|kind| kind.live.get(&addr)).cloned())
            .or_else(|| pod(self.pods.get(&addr)))
            .or_else(|| others.iter().find_map(|kind| kind.get(&addr)).cloned())
    }

    pub(super) fn update(&mut self, index: &Index, dirty: &Dirty) {
        let claimed = dirty.pods.iter().filter_map(|name| index.pod(name)).flat_map(|pod| &pod.addresses);
        for addr in claimed.chain(&dirty.addresses) {
            self.pods.set(*addr, index.owner(*addr).cloned());
        }
        for name in &dirty.policies {
            self.generations.set(name.clone(), index.policy(name).map(|policy| policy.generation));
            if index.is_kept(name) {
                self.kept.insert(name.clone());
            } else {
                self.kept.remove(name);
            }
        }
        let mut interfaces = Vec::new();
        for name in &dirty.pods {
            let found = index.pod(name).and_then(|pod| Some((pod, index.interface_of(pod)?)));
            let old = match found {
                Some((pod, interface)) => {
                    interfaces.push((interface.ifindex, pod_ref(pod)));
                    self.interface_of.insert(name.clone(), interface.ifindex)
                }
                None => self.interface_of.remove(name),
            };
            if let Some(old) = old {
                self.interfaces.set(old, None);
            }
        }
        for (ifindex, pod) in interfaces {
            self.interfaces.set(ifindex, Some(pod));
        }
        for name in &dirty.services {
            let new = index.service(name).map(|s| s.addresses.iter().copied().collect()).unwrap_or_default();
            let identity = Identity::Service(name.clone());
            exchange(&mut self.services, &mut self.addresses_of_service, name, new, &identity);
        }
    }

    pub(super) fn update_node(&mut self, name: &str, node: Option<&Node>) {
        self.nodes_version += 1;
        let new = node.map(|node| node.addresses.iter().copied().collect()).unwrap_or_default();
        let identity = Identity::Node(name.to_owned());
        exchange(&mut self.nodes, &mut self.addresses_of_node, &name.to_owned(), new, &identity);
    }

    pub(super) fn update_numbers(&mut self, compiler: &mut Compiler) {
        let rules = compiler.rule_names();
        for id in rules.take_touched() {
            let name = rules.rows().get(&id).map(|rule| RuleRef {
                policy: rule.policy.clone(),
                generation: rule.generation,
                direction: rule.direction,
                index: rule.index,
                path: format!("spec.{}[{}]", rule.direction.name(), rule.index),
            });
            self.rules.set(id, name);
        }
        let slots = compiler.slot_names();
        for id in slots.take_touched() {
            let name = slots.rows().get(&id);
            let name = name.map(|s| SlotRef { direction: s.direction, policies: s.policies.clone() });
            self.slots.set(id, name);
        }
    }
}

/// Gives the addresses of one object its name, and takes it from those it has lost.
fn exchange<K: Ord + Clone>(
    names: &mut Remembered<IpAddr, Identity>,
    addresses: &mut BTreeMap<K, Few<IpAddr>>,
    key: &K,
    new: Few<IpAddr>,
    identity: &Identity,
) {
    for addr in addresses.remove(key).unwrap_or_default() {
        // Another object may have taken it over meanwhile.
        if !new.contains(&addr) && names.live.get(&addr) == Some(identity) {
            names.set(addr, None);
        }
    }
    for addr in &new {
        names.set(*addr, Some(identity.clone()));
    }
    if !new.is_empty() {
        addresses.insert(key.clone(), new);
    }
}

fn pod_ref(pod: &Pod) -> PodRef {
    let Pod { name, labels, workload, .. } = pod;
    PodRef { pod: name.clone(), labels: labels.clone(), workload: workload.clone() }
}

/// A map that remembers what was removed from it last.
#[derive(Debug)]
struct Remembered<K, V> {
    live: BTreeMap<K, V>,
    gone: BTreeMap<K, V>,
    /// Keys in the order of their removal. One that came back and went again stands here twice.
    order: VecDeque<K>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { live: BTreeMap::new(), gone: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<K: Ord + Clone, V> Remembered<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.live.get(key).or_else(|| self.gone.get(key))
    }
    fn set(&mut self, key: K, value: Option<V>) {
        match value {
            Some(value) => {
                self.gone.remove(&key);
                self.live.insert(key, value);
            }
            None => {
                let Some(value) = self.live.remove(&key) else { return };
                self.gone.insert(key.clone(), value);
                self.order.push_back(key);
                if self.order.len() > Attribution::KEPT
                    && let Some(oldest) = self.order.pop_front()
                    && !self.order.contains(&oldest)
                {
                    self.gone.remove(&oldest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_stays_known_within_bounds() {
        let mut names = Remembered::<usize, &str>::default();
        for key in 0..=Attribution::KEPT {
            names.set(key, Some("x"));
            names.set(key, None);
        }
        assert_eq!(names.get(&0), None);
        assert_eq!(names.get(&1), Some(&"x"));
        assert_eq!(names.gone.len(), Attribution::KEPT);
        names.set(1, Some("y"));
        assert_eq!(names.get(&1), Some(&"y"));
    }
}
