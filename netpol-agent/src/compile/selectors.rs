use std::collections::BTreeMap;

use super::feature::FeatureId;
use crate::model::{Labels, Namespaces, Pod, PodSelector};

/// The pod selectors that slots name, found by something that every pod they match must have: which ones match a pod
/// is asked for each pod that comes or changes.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    by_anchor: BTreeMap<Anchor, BTreeMap<FeatureId, PodSelector>>,
}

/// What every pod that a selector matches must have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Anchor {
    /// A label with this key and value.
    Label(String, String),
    /// A namespace with this name.
    Namespace(String),
    /// A namespace with a label of this key and value.
    NamespaceLabel(String, String),
    /// Nothing in particular.
    Nothing,
}

impl Anchor {
    fn of(selector: &PodSelector) -> Self {
        if let Some((key, value)) = selector.pods.required_label() {
            return Self::Label(key.to_owned(), value.to_owned());
        }
        match &selector.namespaces {
            Namespaces::Named(name) => Self::Namespace(name.clone()),
            Namespaces::Labelled(labels) => match labels.required_label() {
                Some((key, value)) => Self::NamespaceLabel(key.to_owned(), value.to_owned()),
                None => Self::Nothing,
            },
        }
    }
}

impl Selectors {
    pub(super) fn insert(&mut self, id: FeatureId, selector: &PodSelector) {
        self.by_anchor.entry(Anchor::of(selector)).or_default().insert(id, selector.clone());
    }

    pub(super) fn remove(&mut self, id: FeatureId, selector: &PodSelector) {
        let anchor = Anchor::of(selector);
        if let Some(selectors) = self.by_anchor.get_mut(&anchor) {
            selectors.remove(&id);
            if selectors.is_empty() {
                self.by_anchor.remove(&anchor);
            }
        }
    }

    /// The selectors that match a pod, given the labels of its namespace.
    pub(super) fn matching<'a>(
        &'a self,
        pod: &'a Pod,
        namespace: &'a Labels,
    ) -> impl Iterator<Item = FeatureId> + 'a {
        let own = pod.labels.iter().map(|(k, v)| Anchor::Label(k.to_owned(), v.to_owned()));
        let around = namespace.iter().map(|(k, v)| Anchor::NamespaceLabel(k.to_owned(), v.to_owned()));
        let fixed = [Anchor::Namespace(pod.name.namespace.to_string()), Anchor::Nothing];
        own.chain(around)
            .chain(fixed)
            .filter_map(|anchor| self.by_anchor.get(&anchor))
            .flatten()
            .filter(|(_, selector)| matches(selector, pod, namespace))
            .map(|(id, _)| *id)
    }
}

/// Whether a selector matches a pod, given the labels of its namespace.
pub(super) fn matches(selector: &PodSelector, pod: &Pod, namespace: &Labels) -> bool {
    let in_namespace = match &selector.namespaces {
        Namespaces::Named(name) => **name == *pod.name.namespace,
        Namespaces::Labelled(labels) => labels.matches(namespace),
    };
    in_namespace && selector.pods.matches(&pod.labels)
}
