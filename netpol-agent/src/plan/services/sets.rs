use std::{collections::BTreeMap, sync::Arc};

use crate::dataplane::Backend;

/// The backends that rows of `np_svc` name, by number. They are many: what is wanted and what was written are one piece of memory
/// where they are equal, and how many there are is counted as they come and go.
#[derive(Debug, Default)]
pub(super) struct Sets {
    all: BTreeMap<u32, Arc<[Backend]>>,
    /// Of IPv4 and of IPv6.
    counts: [usize; 2],
}

impl Sets {
    /// Those that were found at start.
    pub(super) fn new(rows: &BTreeMap<u32, Vec<Backend>>) -> Self {
        let mut new = Self::default();
        for (number, backends) in rows {
            new.set(*number, backends.as_slice().into());
        }
        new
    }

    /// The backends of a row; none for one that is not known.
    pub(super) fn of(&self, number: u32) -> &[Backend] {
        match self.all.get(&number) {
            Some(backends) => backends,
            None => &[],
        }
    }

    /// A row names these now.
    pub(super) fn set(&mut self, number: u32, backends: Arc<[Backend]>) {
        let n = backends.len();
        if let Some(family) = family(&backends) {
            self.counts[family] += n;
        }
        let old = self.all.insert(number, backends);
        self.uncount(old);
    }

    /// A row names none any more.
    pub(super) fn forget(&mut self, number: u32) {
        let old = self.all.remove(&number);
        self.uncount(old);
    }

    /// The row's backends are these, which somebody else has too.
    pub(super) fn share(&mut self, number: u32, equal: &Arc<[Backend]>) {
        if let Some(own) = self.all.get_mut(&number)
            && own == equal
        {
            own.clone_from(equal);
        }
    }

    /// How many there are, of IPv4 and of IPv6.
    pub(super) fn counts(&self) -> [usize; 2] {
        self.counts
    }

    /// A copy.
    pub(super) fn rows(&self) -> BTreeMap<u32, Vec<Backend>> {
        self.all.iter().map(|(number, backends)| (*number, backends.to_vec())).collect()
    }

    fn uncount(&mut self, old: Option<Arc<[Backend]>>) {
        if let Some((old, family)) = old.and_then(|old| Some((old.len(), family(&old)?))) {
            self.counts[family] -= old;
        }
    }
}

/// The place among the counts: a row serves one family only. `None` for none.
fn family(backends: &[Backend]) -> Option<usize> {
    backends.first().map(|backend| usize::from(backend.addr.is_ipv6()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(addr: &str, n: u16) -> Arc<[Backend]> {
        (0..n).map(|port| Backend { addr: addr.parse().unwrap(), port }).collect()
    }

    #[test]
    fn they_are_counted_as_they_come_and_go() {
        let mut sets = Sets::new(&[(1, some("10.0.0.1", 3).to_vec()), (2, Vec::new())].into());
        assert_eq!(sets.counts(), [3, 0]);
        sets.set(2, some("fd00::1", 2));
        sets.set(1, some("10.0.0.1", 5));
        assert_eq!(sets.counts(), [5, 2]);
        sets.set(1, Arc::default());
        sets.forget(2);
        sets.forget(3);
        assert_eq!(sets.counts(), [0, 0]);
        assert_eq!(sets.rows(), [(1, Vec::new())].into());
    }

    #[test]
    fn equal_ones_become_one_piece_of_memory_and_others_stay() {
        let mut sets = Sets::new(&[(1, some("10.0.0.1", 3).to_vec())].into());
        let (equal, other) = (some("10.0.0.1", 3), some("10.0.0.2", 3));
        sets.share(1, &other);
        assert_eq!(sets.of(1), &*equal);
        sets.share(1, &equal);
        assert!(std::ptr::eq(sets.of(1), &*equal));
        assert_eq!((sets.of(2), sets.counts()), (&[][..], [3, 0]));
    }
}
