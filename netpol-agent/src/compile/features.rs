use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpol_common::policy::{ClassId, SlotId};

use super::{
    Collisions, Concerned,
    blocks::{self, Blocks},
    feature::{Feature, FeatureId, PortName},
    ids::Ids,
    selectors::Selectors,
    slot::Slot,
};
use crate::{
    index::Index,
    model::{NamedPort, Pod},
};

/// The features that slots of this node name, and the classes they are part of.
#[derive(Debug, Default)]
pub(super) struct Features {
    uses: BTreeMap<FeatureId, (Feature, Users)>,
    names: BTreeMap<PortName, Users>,
    selectors: Selectors,
    blocks: Blocks,
}

#[derive(Debug, Default)]
struct Users {
    slots: BTreeSet<SlotId>,
    classes: BTreeSet<ClassId>,
}

impl Features {
    /// A slot has come into use. Addresses that can now be told apart are added to `concerned`.
    pub(super) fn add_slot(
        &mut self,
        id: SlotId,
        slot: &Slot,
        index: &Index,
        concerned: &mut Concerned,
        collisions: &mut Collisions,
    ) {
        for (feature_id, feature) in &slot.features {
            let (known, users) =
                self.uses.entry(*feature_id).or_insert_with(|| (feature.clone(), Users::default()));
            if known != feature {
                collisions.add("selector or block", feature_id.0);
            }
            if users.slots.is_empty() {
                match feature {
                    Feature::Pods(selector) => self.selectors.insert(*feature_id, selector),
                    Feature::Block(block) => self.blocks.insert(*feature_id, block),
                    Feature::Port(_) => {}
                }
                concern(feature, &self.blocks, index, concerned);
            }
            users.slots.insert(id);
        }
        for name in &slot.names {
            let users = self.names.entry(name.clone()).or_default();
            if users.slots.is_empty() {
                concerned.addresses.extend(with_port(name, index));
            }
            users.slots.insert(id);
        }
    }

    /// A slot is not used any more. Addresses that need not be told apart any more are added to `concerned`.
    pub(super) fn remove_slot(&mut self, id: SlotId, slot: &Slot, index: &Index, concerned: &mut Concerned) {
        for (feature_id, feature) in &slot.features {
            let Some((_, users)) = self.uses.get_mut(feature_id) else { continue };
            users.slots.remove(&id);
            if users.slots.is_empty() {
                concern(feature, &self.blocks, index, concerned);
                match feature {
                    Feature::Pods(selector) => self.selectors.remove(*feature_id, selector),
                    Feature::Block(block) => self.blocks.remove(*feature_id, block),
                    Feature::Port(_) => {}
                }
                if users.classes.is_empty() {
                    self.uses.remove(feature_id);
                }
            }
        }
        for name in &slot.names {
            let Some(users) = self.names.get_mut(name) else { continue };
            users.slots.remove(&id);
            if users.slots.is_empty() {
                concerned.addresses.extend(with_port(name, index));
                if users.classes.is_empty() {
                    self.names.remove(name);
                }
            }
        }
    }

    /// A class has come into use.
    pub(super) fn add_class(&mut self, id: ClassId, content: &ClassContent) {
        for feature in &content.features {
            if let Some((_, users)) = self.uses.get_mut(feature) {
                users.classes.insert(id);
            }
        }
        for port in &content.ports {
            self.names.entry((port.name.clone(), port.proto)).or_default().classes.insert(id);
        }
    }

    /// A class is not used any more.
    pub(super) fn remove_class(&mut self, id: ClassId, content: &ClassContent) {
        for feature in &content.features {
            if let Some((_, users)) = self.uses.get_mut(feature) {
                users.classes.remove(&id);
                if users.slots.is_empty() && users.classes.is_empty() {
                    self.uses.remove(feature);
                }
            }
        }
        for port in &content.ports {
            let name = (port.name.clone(), port.proto);
            if let Some(users) = self.names.get_mut(&name) {
                users.classes.remove(&id);
                if users.slots.is_empty() && users.classes.is_empty() {
                    self.names.remove(&name);
                }
            }
        }
    }

    /// The slots that may have something to say of a class.
    pub(super) fn slots_of(&self, content: &ClassContent) -> BTreeSet<SlotId> {
        let by_feature = content.features.iter().filter_map(|f| self.uses.get(f)).map(|(_, users)| users);
        let names = content.ports.iter().map(|p| (p.name.clone(), p.proto));
        let by_name = names.filter_map(|name| self.names.get(&name));
        by_feature.chain(by_name).flat_map(|users| &users.slots).copied().collect()
    }

    /// The classes that a slot may have something to say of.
    pub(super) fn classes_of(&self, slot: &Slot) -> BTreeSet<ClassId> {
        let by_feature = slot.features.keys().filter_map(|f| self.uses.get(f)).map(|(_, users)| users);
        let by_name = slot.names.iter().filter_map(|name| self.names.get(name));
        by_feature.chain(by_name).flat_map(|users| &users.classes).copied().collect()
    }

    /// What can be told of a pod's address; `None` if no selector, name or interface sets the pod apart: then
    /// its longest prefix says it all.
    ///
    /// `like`: a class that it may be.
    pub(super) fn of_pod(
        &self,
        (addr, pod): (IpAddr, &Pod),
        index: &Index,
        ids: Ids,
        like: Option<&ClassContent>,
    ) -> Option<ClassContent> {
        let labels = index.namespace_labels(&pod.name.namespace);
        let mut features: BTreeSet<FeatureId> = self.selectors.matching(pod, &labels).collect();
        let in_use = |p: &&NamedPort| {
            if self.names.is_empty() {
                return false;
            }
            let users = self.names.get(&(p.name.clone(), p.proto));
            users.is_some_and(|users| !users.slots.is_empty())
        };
        let mut ports: Vec<NamedPort> = pod.named_ports.iter().filter(in_use).cloned().collect();
        ports.sort_unstable();
        if features.is_empty() && ports.is_empty() && index.interface_of(pod).is_none() {
            return None;
        }
        features.extend(self.blocks.covering(&IpNet::from(addr)));
        // Thousands of addresses that have one class come one after the other, and making its number takes longer than comparing.
        let is_it = |like: &&ClassContent| like.ports == ports && features.iter().eq(&like.features);
        Some(like.filter(is_it).cloned().unwrap_or_else(|| ClassContent::new(features, ports, ids)))
    }

    /// What can be told of the addresses whose longest prefix is this one; `None` if no block names it.
    pub(super) fn of_prefix(&self, prefix: &IpNet, ids: Ids) -> Option<ClassContent> {
        self.blocks.names(prefix).then(|| ClassContent::new(self.blocks.covering(prefix), Vec::new(), ids))
    }
}

/// What a class stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClassContent {
    /// Selectors and blocks; sorted.
    pub(super) features: Vec<FeatureId>,
    /// Named ports, sorted, and their number as a feature.
    pub(super) ports: Vec<NamedPort>,
    /// The number of the class.
    pub(super) id: ClassId,
}

impl ClassContent {
    fn new(features: BTreeSet<FeatureId>, ports: Vec<NamedPort>, ids: Ids) -> Self {
        let features: Vec<FeatureId> = features.into_iter().collect();
        let named = ports.iter().map(|port| ids.feature(&Feature::Port(port.clone())));
        let all: Vec<FeatureId> = features.iter().copied().chain(named).collect();
        let id = if all.is_empty() { ClassId::ANY } else { ids.class(&all) };
        Self { features, ports, id }
    }
}

/// Adds the addresses and prefixes that have the feature, or had it.
fn concern(feature: &Feature, blocks: &Blocks, index: &Index, concerned: &mut Concerned) {
    match feature {
        Feature::Pods(selector) => concerned.select(selector),
        Feature::Block(block) => {
            let (first, last) = blocks::range(&block.cidr);
            concerned.addresses.extend(index.claimed(first, last));
            concerned.prefixes.extend(blocks.inside(&block.cidr));
        }
        Feature::Port(_) => {}
    }
}

fn with_port<'a>(name: &'a PortName, index: &'a Index) -> impl Iterator<Item = IpAddr> + 'a {
    let has = |pod: &&Pod| pod.policed() && pod.numbers_of(&name.0, name.1).next().is_some();
    index.pods().filter(has).flat_map(|pod| pod.addresses.iter().copied())
}
