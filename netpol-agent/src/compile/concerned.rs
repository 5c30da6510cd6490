use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::selectors;
use crate::{
    index::Index,
    model::{Namespaces, PodSelector},
};

/// Addresses and prefixes whose class may have changed.
#[derive(Debug, Default)]
pub(super) struct Concerned {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) prefixes: BTreeSet<IpNet>,
    /// Whose pods are concerned as well. All are looked for at once: to come by each pod takes longer than to ask what it is.
    selectors: Vec<PodSelector>,
}

impl Concerned {
    pub(super) fn new(addresses: BTreeSet<IpAddr>) -> Self {
        Self { addresses, ..Self::default() }
    }

    /// Of the pods that a selector matches, too.
    pub(super) fn select(&mut self, selector: &PodSelector) {
        self.selectors.push(selector.clone());
    }

    /// Finds the addresses of the pods that were selected.
    pub(super) fn find(&mut self, index: &Index) {
        let selectors = std::mem::take(&mut self.selectors);
        let mut named = BTreeSet::new();
        let mut anywhere = false;
        for selector in &selectors {
            match &selector.namespaces {
                Namespaces::Named(name) => drop(named.insert(name.as_str())),
                Namespaces::Labelled(_) => anywhere = true,
            }
        }
        let all = anywhere.then(|| index.pods()).into_iter().flatten();
        let some = (!anywhere).then_some(&named).into_iter().flatten().flat_map(|name| index.pods_in(name));
        // They come by namespace, which is asked once.
        let mut asked: Option<(&str, Vec<&PodSelector>)> = None;
        for pod in all.chain(some).filter(|pod| pod.policed()) {
            let name = &*pod.name.namespace;
            let fitting = match &mut asked {
                Some((known, fitting)) if *known == name => fitting,
                asked => {
                    let labels = index.namespace_labels(name);
                    let fit = |s: &&PodSelector| selectors::matches_in(s, name, &labels);
                    &mut asked.insert((name, selectors.iter().filter(fit).collect())).1
                }
            };
            if fitting.iter().any(|selector| selector.pods.matches(&pod.labels)) {
                self.addresses.extend(pod.addresses.iter().copied());
            }
        }
    }
}
