use std::collections::BTreeSet;

/// Row numbers of services. A number is used again as late as possible: connections remember it.
#[derive(Debug)]
pub(super) struct Numbers {
    capacity: u32,
    next: u32,
    used: BTreeSet<u32>,
    reserved: BTreeSet<u32>,
    quarantine: BTreeSet<u32>,
}

impl Numbers {
    pub(super) fn new(capacity: u32, used: BTreeSet<u32>) -> Self {
        let next = used.last().map_or(0, |last| last + 1);
        Self { capacity, next, used, reserved: BTreeSet::new(), quarantine: BTreeSet::new() }
    }
    /// Forgets what an earlier plan reserved and did not use.
    pub(super) fn begin(&mut self) {
        self.reserved.clear();
    }
    /// A free number, for the current plan.
    pub(super) fn reserve(&mut self) -> Option<u32> {
        let taken =
            |n: &u32| [&self.used, &self.reserved, &self.quarantine].iter().any(|set| set.contains(n));
        let start = if self.next < self.capacity { self.next } else { 0 };
        let number = (start..self.capacity).chain(0..start).find(|n| !taken(n))?;
        self.next = number + 1;
        self.reserved.insert(number);
        Some(number)
    }
    /// A frontend names it now.
    pub(super) fn take(&mut self, number: u32) {
        self.reserved.remove(&number);
        self.used.insert(number);
    }
    /// No frontend names it any more.
    pub(super) fn retire(&mut self, number: u32) {
        if self.used.remove(&number) {
            self.quarantine.insert(number);
        }
    }
    pub(super) fn in_quarantine(&self) -> bool {
        !self.quarantine.is_empty()
    }
    /// A grace period is over.
    pub(super) fn grace(&mut self) {
        self.quarantine.clear();
    }
}
