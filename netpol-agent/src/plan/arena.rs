use std::collections::BTreeMap;

/// Which rows of an arena are free. A range that a service leaves is free again after a grace period, because packets
/// may still be reading it.
#[derive(Debug)]
pub(super) struct Arena {
    capacity: u32,
    /// Length by first row; neighbours are merged.
    free: BTreeMap<u32, u32>,
    /// Handed out by the current plan, and not named by a service row yet.
    reserved: BTreeMap<u32, u32>,
    quarantine: Vec<(u32, u32)>,
}

impl Arena {
    /// Of this many rows, all of them free.
    pub(super) fn new(capacity: u32) -> Self {
        let free = if capacity == 0 { BTreeMap::new() } else { BTreeMap::from([(0, capacity)]) };
        Self { capacity, free, reserved: BTreeMap::new(), quarantine: Vec::new() }
    }

    /// Rows that a service names, found at start. Rows that two services name are theirs until both leave.
    pub(super) fn occupy(&mut self, base: u32, len: u32) {
        if len == 0 {
            return;
        }
        let end = base.saturating_add(len).min(self.capacity);
        let overlapping = self.free.range(..end).filter(|(first, n)| *first + *n > base);
        let overlapping: Vec<(u32, u32)> = overlapping.map(|(first, n)| (*first, *n)).collect();
        for (first, n) in overlapping {
            self.free.remove(&first);
            if first < base {
                self.free.insert(first, base - first);
            }
            if first + n > end {
                self.free.insert(end, first + n - end);
            }
        }
    }

    /// Forgets what an earlier plan reserved and did not use.
    pub(super) fn begin(&mut self) {
        for (base, len) in std::mem::take(&mut self.reserved) {
            self.give_back(base, len);
        }
    }

    /// A free range, for the current plan; `None` if no gap is wide enough.
    pub(super) fn reserve(&mut self, len: u32) -> Option<u32> {
        let (base, room) = self.free.iter().find(|(_, room)| **room >= len).map(|(b, r)| (*b, *r))?;
        self.free.remove(&base);
        if room > len {
            self.free.insert(base + len, room - len);
        }
        self.reserved.insert(base, len);
        Some(base)
    }

    /// A service row names the range now.
    pub(super) fn take(&mut self, base: u32) {
        self.reserved.remove(&base);
    }

    /// No service row names the range any more.
    pub(super) fn retire(&mut self, base: u32, len: u32) {
        if len > 0 {
            self.quarantine.push((base, len));
        }
    }

    /// Rows that are not free.
    pub(super) fn in_use(&self) -> u32 {
        self.capacity - self.free.values().sum::<u32>()
    }

    pub(super) fn in_quarantine(&self) -> bool {
        !self.quarantine.is_empty()
    }

    /// A grace period is over.
    pub(super) fn grace(&mut self) {
        for (base, len) in std::mem::take(&mut self.quarantine) {
            self.give_back(base, len);
        }
    }

    fn give_back(&mut self, base: u32, len: u32) {
        let (mut base, mut len) = (base, len);
        if let Some(after) = self.free.remove(&(base + len)) {
            len += after;
        }
        if let Some((before, n)) = self.free.range(..base).next_back().map(|(b, n)| (*b, *n))
            && before + n == base
        {
            base = before;
            len += n;
        }
        self.free.insert(base, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_reused_only_after_a_grace_period() {
        let mut arena = Arena::new(10);
        assert_eq!(arena.reserve(6), Some(0));
        arena.take(0);
        arena.retire(0, 6);
        assert_eq!(arena.reserve(6), None);
        arena.grace();
        assert_eq!(arena.reserve(6), Some(0));
    }

    #[test]
    fn what_a_plan_did_not_use_is_free_for_the_next() {
        let mut arena = Arena::new(10);
        assert_eq!(arena.reserve(10), Some(0));
        assert_eq!(arena.reserve(1), None);
        arena.begin();
        assert_eq!(arena.reserve(10), Some(0));
    }

    #[test]
    fn neighbours_merge() {
        let mut arena = Arena::new(9);
        let bases: Vec<_> = (0..3).map(|_| arena.reserve(3)).collect();
        assert_eq!(bases, [Some(0), Some(3), Some(6)]);
        for base in [0, 6, 3] {
            arena.take(base);
            arena.retire(base, 3);
        }
        arena.grace();
        assert_eq!(arena.free, BTreeMap::from([(0, 9)]));
    }

    #[test]
    fn ranges_found_at_start_are_not_handed_out() {
        let mut arena = Arena::new(10);
        arena.occupy(2, 3);
        arena.occupy(4, 2);
        assert_eq!(arena.free, BTreeMap::from([(0, 2), (6, 4)]));
    }
}
