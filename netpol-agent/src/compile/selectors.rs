use std::collections::BTreeMap;

use super::feature::FeatureId;
use crate::model::{Labels, Namespaces, Pod, PodSelector};

/// The pod selectors that slots name, found by something that every pod they match must have, and its namespace: which ones match
/// a pod is asked for each pod that comes or changes, and selectors of other namespaces often want the same labels.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    by_anchor: BTreeMap<Around, BTreeMap<Own, BTreeMap<FeatureId, PodSelector>>>,
}

/// A label, key and value, that every pod that a selector matches must have.
type Own = Option<(String, String)>;

/// What the namespace of every pod that a selector matches must have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Around {
    /// This name.
    Name(String),
    /// A label with this key and value.
    Label(String, String),
    /// Nothing in particular.
    Nothing,
}

fn anchor(selector: &PodSelector) -> (Around, Own) {
    let around = match &selector.namespaces {
        Namespaces::Named(name) => Around::Name(name.clone()),
        Namespaces::Labelled(labels) => match labels.required_label() {
            Some((key, value)) => Around::Label(key.to_owned(), value.to_owned()),
            None => Around::Nothing,
        },
    };
    let own = selector.pods.required_label().map(|(key, value)| (key.to_owned(), value.to_owned()));
    (around, own)
}

impl Selectors {
    pub(super) fn insert(&mut self, id: FeatureId, selector: &PodSelector) {
        let (around, own) = anchor(selector);
        self.by_anchor.entry(around).or_default().entry(own).or_default().insert(id, selector.clone());
    }

    pub(super) fn remove(&mut self, id: FeatureId, selector: &PodSelector) {
        let (around, own) = anchor(selector);
        let Some(by_own) = self.by_anchor.get_mut(&around) else { return };
        if let Some(selectors) = by_own.get_mut(&own) {
            selectors.remove(&id);
            if selectors.is_empty() {
                by_own.remove(&own);
            }
        }
        if by_own.is_empty() {
            self.by_anchor.remove(&around);
        }
    }

    /// The selectors that match a pod, given the labels of its namespace.
    pub(super) fn matching<'a>(
        &'a self,
        pod: &'a Pod,
        namespace: &'a Labels,
    ) -> impl Iterator<Item = FeatureId> + 'a {
        let labels = namespace.iter().map(|(k, v)| Around::Label(k.to_owned(), v.to_owned()));
        labels
            .chain([Around::Name(pod.name.namespace.to_string()), Around::Nothing])
            .filter_map(|around| self.by_anchor.get(&around))
            .flat_map(|by_own| {
                let own = pod.labels.iter().map(|(k, v)| Some((k.to_owned(), v.to_owned())));
                own.chain([None]).filter_map(|own| by_own.get(&own))
            })
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
