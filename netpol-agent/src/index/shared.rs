use std::{collections::HashSet, hash::Hash, sync::Arc};

/// So many are held before those that nobody has are looked for.
const FEW: usize = 1024;

/// What some pod has, each once: the pods of a workload have the same labels, and the same workload.
#[derive(Debug)]
pub(super) struct Shared<T> {
    all: HashSet<Arc<T>>,
    /// At how many the next search is due: a search is paid for by as many that came.
    full: usize,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { all: HashSet::new(), full: FEW }
    }
}

impl<T: Eq + Hash> Shared<T> {
    /// The same value, in the one place where everybody has it.
    pub(super) fn share(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(shared) = self.all.get(&value) {
            return shared.clone();
        }
        if self.all.len() >= self.full {
            self.all.retain(|value| Arc::strong_count(value) > 1);
            self.full = FEW.max(2 * self.all.len());
        }
        self.all.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

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
