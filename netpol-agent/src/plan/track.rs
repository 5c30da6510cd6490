use std::collections::{BTreeMap, BTreeSet};

/// What one map holds, and which rows may differ from what is wanted.
#[derive(Debug)]
pub(super) struct Track<K, V> {
    actual: BTreeMap<K, V>,
    pending: BTreeSet<K>,
}

/// Rows to write and rows to remove.
pub(super) struct Diff<K, V> {
    pub(super) puts: Vec<(K, V)>,
    pub(super) deletes: Vec<K>,
}

impl<K, V> Diff<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}

impl<K: Ord + Clone, V: Copy + PartialEq> Track<K, V> {
    /// Of rows that somebody else wrote: each of them is looked at once.
    pub(super) fn new(actual: BTreeMap<K, V>) -> Self {
        let pending = actual.keys().cloned().collect();
        Self { actual, pending }
    }
    pub(super) fn actual(&self) -> &BTreeMap<K, V> {
        &self.actual
    }
    pub(super) fn touch(&mut self, keys: BTreeSet<K>) {
        if self.pending.is_empty() {
            self.pending = keys;
        } else {
            self.pending.extend(keys);
        }
    }
    /// The difference to what is wanted. Forgets about rows that do not differ.
    pub(super) fn diff(&mut self, desired: &BTreeMap<K, V>) -> Diff<K, V> {
        let mut diff = Diff { puts: Vec::new(), deletes: Vec::new() };
        let actual = &self.actual;
        self.pending.retain(|key| match (desired.get(key), actual.get(key)) {
            (Some(new), old) if old != Some(new) => {
                diff.puts.push((key.clone(), *new));
                true
            }
            (None, Some(_)) => {
                diff.deletes.push(key.clone());
                true
            }
            _ => false,
        });
        diff
    }
    /// A row was written. The one that was there before.
    pub(super) fn put(&mut self, key: K, row: V) -> Option<V> {
        self.pending.insert(key.clone());
        self.actual.insert(key, row)
    }
    /// A row was removed. The one that was there.
    pub(super) fn delete(&mut self, key: &K) -> Option<V> {
        self.pending.insert(key.clone());
        self.actual.remove(key)
    }
}
