use std::collections::{HashMap, hash_map::Entry};

use super::observation::{Key, Observation};

/// Sums up what comes, for a while. What is new is told at once, what only counts on is told at the end.
#[derive(Debug)]
pub(super) struct Tally {
    capacity: usize,
    rows: HashMap<Key, Row>,
    left_out: u64,
}

#[derive(Debug)]
struct Row {
    /// What has been added since the last time it was told.
    pending: Option<Observation>,
    told: bool,
}

impl Tally {
    /// Tells so many apart.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, rows: HashMap::new(), left_out: 0 }
    }

    /// Adds an observation; says whether there was room for it.
    pub(super) fn take(&mut self, seen: Observation) -> bool {
        let full = self.rows.len() >= self.capacity;
        match self.rows.entry(seen.key()) {
            Entry::Occupied(row) => {
                let pending = &mut row.into_mut().pending;
                match pending {
                    Some(known) => known.add(seen),
                    None => *pending = Some(seen),
                }
            }
            Entry::Vacant(_) if full => {
                self.left_out += 1;
                return false;
            }
            Entry::Vacant(place) => {
                place.insert(Row { pending: Some(seen), told: false });
            }
        }
        true
    }

    /// What is to be told now: what is new, or `everything` that was not told.
    pub(super) fn drain(&mut self, everything: bool) -> Vec<Observation> {
        let due = |row: &mut Row| {
            let pending = if everything || !row.told { row.pending.take() } else { None };
            row.told |= pending.is_some();
            pending
        };
        self.rows.values_mut().filter_map(due).collect()
    }

    /// Takes back what could not be told; it is new again.
    pub(super) fn put_back(&mut self, untold: Vec<Observation>) {
        for seen in untold {
            if let Some(row) = self.rows.get_mut(&seen.key()) {
                row.told = false;
                match &mut row.pending {
                    Some(known) => known.add(seen),
                    pending => *pending = Some(seen),
                }
            }
        }
    }

    /// Begins anew with nothing, if nothing is left to tell.
    pub(super) fn renew(&mut self) {
        if self.rows.values().all(|row| row.pending.is_none()) {
            self.rows.clear();
        }
    }

    /// What was not told.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Observation> {
        self.rows.values().filter_map(|row| row.pending.as_ref())
    }

    /// Those for which there was no room, since the start.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}
