use std::{collections::HashSet, sync::Arc};

use crate::model::Labels;

/// So many are held before those that nobody has are looked for.
const FEW: usize = 1024;

/// Labels that some pod has, each once: the pods of a workload have the same.
#[derive(Debug)]
pub(super) struct Shared {
    all: HashSet<Labels>,
    /// At how many the next search is due: a search is paid for by as many that came.
    full: usize,
}

impl Default for Shared {
    fn default() -> Self {
        Self { all: HashSet::new(), full: FEW }
    }
}

impl Shared {
    /// The same labels, in the one place where everybody has them.
    pub(super) fn share(&mut self, labels: Labels) -> Labels {
        if let Some(shared) = self.all.get(&labels) {
            return shared.clone();
        }
        if self.all.len() >= self.full {
            self.all.retain(|labels| Arc::strong_count(labels) > 1);
            self.full = FEW.max(2 * self.all.len());
        }
        self.all.insert(labels.clone());
        labels
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
        assert!(Arc::ptr_eq(&first, &second));
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
