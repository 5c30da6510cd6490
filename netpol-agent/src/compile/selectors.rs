use std::collections::BTreeMap;

use super::feature::FeatureId;
use crate::model::{Labels, Namespaces, Pod, PodSelector};

/// The pod selectors that slots name, found by something that every pod they match must have, and its namespace: which ones match
/// a pod is asked for each pod that comes or changes, and selectors of other namespaces often want the same labels.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    /// Of one namespace, by its name.
    named: BTreeMap<String, ByOwn>,
    /// By a label that every namespace they match must have.
    labelled: ByLabel<ByOwn>,
    /// Those that need nothing in particular of a namespace.
    anywhere: ByOwn,
}

/// By key and value of a label.
type ByLabel<T> = BTreeMap<String, BTreeMap<String, T>>;

/// Selectors by a label that every pod they match must have.
#[derive(Debug, Default)]
struct ByOwn {
    labelled: ByLabel<Found>,
    /// Those that need none in particular.
    others: Found,
}

type Found = BTreeMap<FeatureId, PodSelector>;

impl ByOwn {
    fn insert(&mut self, id: FeatureId, selector: &PodSelector) {
        let found = match selector.pods.required_label() {
            Some((key, value)) => at(&mut self.labelled, key, value),
            None => &mut self.others,
        };
        found.insert(id, selector.clone());
    }

    fn remove(&mut self, id: FeatureId, selector: &PodSelector) {
        match selector.pods.required_label() {
            Some((key, value)) => within(&mut self.labelled, key, value, |found| {
                found.remove(&id);
                found.is_empty()
            }),
            None => {
                self.others.remove(&id);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.labelled.is_empty() && self.others.is_empty()
    }
}

/// What lies under a label, made if there is nothing.
fn at<'a, T: Default>(all: &'a mut ByLabel<T>, key: &str, value: &str) -> &'a mut T {
    all.entry(key.to_owned()).or_default().entry(value.to_owned()).or_default()
}

/// Changes what lies under a label, and takes it away if the change leaves nothing of it.
fn within<T>(all: &mut ByLabel<T>, key: &str, value: &str, change: impl FnOnce(&mut T) -> bool) {
    let Some(by_value) = all.get_mut(key) else { return };
    if by_value.get_mut(value).is_some_and(change) {
        by_value.remove(value);
    }
    if by_value.is_empty() {
        all.remove(key);
    }
}

impl Selectors {
    pub(super) fn insert(&mut self, id: FeatureId, selector: &PodSelector) {
        let by_own = match &selector.namespaces {
            Namespaces::Named(name) => self.named.entry(name.clone()).or_default(),
            Namespaces::Labelled(labels) => match labels.required_label() {
                Some((key, value)) => at(&mut self.labelled, key, value),
                None => &mut self.anywhere,
            },
        };
        by_own.insert(id, selector);
    }

    pub(super) fn remove(&mut self, id: FeatureId, selector: &PodSelector) {
        let without = |by_own: &mut ByOwn| {
            by_own.remove(id, selector);
            by_own.is_empty()
        };
        match &selector.namespaces {
            Namespaces::Named(name) => {
                if self.named.get_mut(name).is_some_and(without) {
                    self.named.remove(name);
                }
            }
            Namespaces::Labelled(labels) => match labels.required_label() {
                Some((key, value)) => within(&mut self.labelled, key, value, without),
                None => self.anywhere.remove(id, selector),
            },
        }
    }

    /// The selectors that match a pod, given the labels of its namespace.
    pub(super) fn matching<'a>(
        &'a self,
        pod: &'a Pod,
        namespace: &'a Labels,
    ) -> impl Iterator<Item = FeatureId> + 'a {
        let labelled = namespace.iter().filter_map(|(key, value)| self.labelled.get(key)?.get(value));
        labelled
            .chain(self.named.get(&*pod.name.namespace))
            .chain([&self.anywhere])
            .flat_map(|by_own| {
                let own = pod.labels.iter().filter_map(|(key, value)| by_own.labelled.get(key)?.get(value));
                own.chain([&by_own.others])
            })
            .flatten()
            .filter(|(_, selector)| matches(selector, pod, namespace))
            .map(|(id, _)| *id)
    }
}

/// Whether a selector matches a pod, given the labels of its namespace.
pub(super) fn matches(selector: &PodSelector, pod: &Pod, namespace: &Labels) -> bool {
    matches_in(selector, &pod.name.namespace, namespace) && selector.pods.matches(&pod.labels)
}

/// Whether a selector can match a pod of a namespace, given its name and labels.
pub(super) fn matches_in(selector: &PodSelector, name: &str, labels: &Labels) -> bool {
    match &selector.namespaces {
        Namespaces::Named(wanted) => *wanted == *name,
        Namespaces::Labelled(wanted) => wanted.matches(labels),
    }
}
