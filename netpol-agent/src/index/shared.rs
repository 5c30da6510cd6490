use std::{collections::HashSet, hash::Hash, sync::Arc};

use super::Index;
use crate::model::{LabelSelector, Labels, Namespaces, Peer, Peers, Policy};

/// So many are held before those that nobody has are looked for.
const FEW: usize = 1024;

/// What some pod has, each once: the pods of a workload have the same labels, and the same workload.
#[derive(Debug)]
pub(super) struct Shared<T> {
    all: HashSet<T>,
    /// At how many the next search is due: a search is paid for by as many that came.
    full: usize,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { all: HashSet::new(), full: FEW }
    }
}

/// Something whose clones share their memory.
pub(super) trait Counted: Clone + Eq + Hash {
    /// Whether there is no other clone.
    fn is_last(&self) -> bool;
}

impl<T: Eq + Hash + ?Sized> Counted for Arc<T> {
    fn is_last(&self) -> bool {
        Self::strong_count(self) == 1
    }
}

impl Counted for Labels {
    fn is_last(&self) -> bool {
        Self::is_last(self)
    }
}

impl<T: Counted> Shared<T> {
    /// The same value, in the one place where everybody has it.
    pub(super) fn share(&mut self, value: T) -> T {
        if let Some(shared) = self.all.get(&value) {
            return shared.clone();
        }
        if self.all.len() >= self.full {
            self.all.retain(|value| !value.is_last());
            self.full = FEW.max(2 * self.all.len());
        }
        self.all.insert(value.clone());
        value
    }
}

impl Index {
    /// What the selectors of a policy ask for is there once for all policies.
    pub(super) fn share_selectors(&mut self, policy: &mut Policy) {
        let mut share = |selector: &mut LabelSelector| {
            selector.requirements = self.selectors.share(selector.requirements.clone());
        };
        share(&mut policy.subject);
        for rule in [&mut policy.ingress, &mut policy.egress].into_iter().flatten().flatten() {
            let Peers::Of(peers) = &mut rule.peers else { continue };
            for peer in peers {
                let Peer::Pods(selector) = peer else { continue };
                share(&mut selector.pods);
                if let Namespaces::Labelled(labels) = &mut selector.namespaces {
                    share(labels);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(n: usize) -> Labels {
        Labels::new([("app".to_owned(), n.to_string())].into())
    }

    #[test]
    fn equal_labels_are_one() {
        let mut shared = Shared::default();
        let (first, second) = (shared.share(labels(1)), shared.share(labels(1)));
        drop(shared);
        assert_eq!((first.is_last(), first == second), (false, true));
        drop(second);
        assert!(first.is_last());
    }

    #[test]
    fn what_nobody_has_is_forgotten() {
        let mut shared = Shared::default();
        let kept: Vec<_> = (0..10).map(|n| shared.share(labels(n))).collect();
        for n in 10..100 * FEW {
            shared.share(labels(n));
        }
        assert!(shared.all.len() <= 2 * FEW, "{}", shared.all.len());
        assert!(kept.iter().all(|labels| shared.all.contains(labels)));
    }
}
