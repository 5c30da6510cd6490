use std::collections::{BTreeMap, BTreeSet, btree_map};

use crate::{
    history::{
        labels::{lasting, telling},
        observation::{Observation, ObservedParty},
    },
    model::{Labels, Workload},
    oracle::{self, World},
};

type LabelSet = BTreeMap<String, String>;

/// Pods whose lasting labels are the same: selectors that outlive them cannot tell them apart.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) namespace: String,
    pub(super) labels: LabelSet,
    pub(super) workloads: BTreeSet<Workload>,
    pub(super) pods: BTreeSet<String>,
    /// One of its pods is on a node that saw it.
    pub(super) here: bool,
}

impl Group {
    pub(super) fn has(&self, party: &ObservedParty) -> bool {
        party.namespace.as_deref() == Some(&self.namespace) && lasting(&party.labels) == self.labels
    }

    pub(super) fn words(&self) -> String {
        let pods = self.pods.iter().map(|pod| format!("{}/{pod}", self.namespace));
        format!("pod {}", pods.collect::<Vec<_>>().join(", "))
    }
}

/// Everybody who was seen, and the labels of everybody else.
#[derive(Debug)]
pub(super) struct Groups {
    seen: BTreeMap<(String, LabelSet), Group>,
    labels: BTreeMap<String, BTreeSet<LabelSet>>,
}

impl Groups {
    pub(super) fn new(world: &World, seen: &[&Observation]) -> Self {
        let mut groups = Self { seen: BTreeMap::new(), labels: BTreeMap::new() };
        for pod in world.pods.iter().filter(|pod| oracle::is_live(pod) && oracle::has_own_network(pod)) {
            let labels = lasting(&Labels::new(oracle::labels_of(pod)));
            groups.labels.entry(oracle::namespace_of(pod).to_owned()).or_default().insert(labels);
        }
        for party in seen.iter().flat_map(|seen| [&seen.source, &seen.destination]) {
            groups.add(party);
        }
        groups
    }

    fn add(&mut self, party: &ObservedParty) {
        let Some(namespace) = &party.namespace else { return };
        let labels = lasting(&party.labels);
        self.labels.entry(namespace.to_string()).or_default().insert(labels.clone());
        let group = match self.seen.entry((namespace.to_string(), labels)) {
            btree_map::Entry::Occupied(group) => group.into_mut(),
            btree_map::Entry::Vacant(place) => {
                let (namespace, labels) = place.key().clone();
                let (workloads, pods) = (BTreeSet::new(), BTreeSet::new());
                place.insert(Group { namespace, labels, workloads, pods, here: false })
            }
        };
        group.workloads.extend(party.workload.as_deref().cloned());
        group.here |= !party.elsewhere;
        group.pods.extend(party.pod.as_deref().map(str::to_owned));
    }

    /// Those of a namespace.
    pub(super) fn of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Group> {
        self.seen.values().filter(move |group| group.namespace == namespace)
    }

    /// The labels to select a group by.
    pub(super) fn selector(&self, group: &Group) -> LabelSet {
        self.selector_of(&group.namespace, &group.labels)
    }

    pub(super) fn selector_of(&self, namespace: &str, labels: &LabelSet) -> LabelSet {
        telling(labels, self.labels.get(namespace).into_iter().flatten())
    }
}
