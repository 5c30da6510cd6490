//! What is told of connections that go on and that have ended, while somebody listens.

use std::time::Duration;

use netpol_common::conntrack::{CtEntry, flags};

use super::{ConnectionKey, clock::Jiffies};

/// How often a connection that goes on is told of.
pub const HEARTBEAT: Duration = Duration::from_secs(60);

/// A connection, as it was when the tables were walked through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// Key of its entry; of a translated connection the front one's.
    pub key: ConnectionKey,
    /// That entry, with what both have counted.
    pub entry: CtEntry,
    /// It has had its time, and its entries are gone.
    pub ended: bool,
}

/// The beginnings of this walk and of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walks {
    pub(super) before: Option<Jiffies>,
    pub(super) this: Option<Jiffies>,
}

impl Walks {
    /// A walk begins.
    pub(super) fn begin(&mut self, now: Jiffies) {
        self.before = self.this.replace(now);
    }

    /// Whether a connection is to be told of in this walk: another [`HEARTBEAT`] has passed since it began, as every walk comes by
    /// once, and packets have been seen in it.
    pub(super) fn beats(&self, entry: &CtEntry) -> bool {
        let (Some(before), Some(this)) = (self.before, self.this) else { return false };
        let beats = |age: Duration| age.as_secs() / HEARTBEAT.as_secs();
        entry.opened != 0
            && entry.flags & flags::BACK == 0
            && beats(this.age(entry.opened)) > beats(before.age(entry.opened))
            && this.age(entry.last_seen) <= HEARTBEAT
    }
}

/// A connection's first entry with what its other one has counted: requests touch the one, answers the other.
pub(super) fn together(first: &CtEntry, second: &CtEntry) -> CtEntry {
    let sum = |a: [u64; 2], b: [u64; 2]| [a[0].saturating_add(b[0]), a[1].saturating_add(b[1])];
    CtEntry {
        packets: sum(first.packets, second.packets),
        bytes: sum(first.bytes, second.bytes),
        flags: first.flags | second.flags & !0xffff,
        last_seen: latest(first.last_seen, second.last_seen),
        ..*first
    }
}

/// The later of two moments in jiffies, less than half of their range apart.
fn latest(a: u32, b: u32) -> u32 {
    if a.wrapping_sub(b).cast_signed() >= 0 { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: u32) -> Jiffies {
        Jiffies::new(now, 100)
    }

    #[test]
    fn a_connection_is_told_of_once_a_minute_whenever_walks_come_by() {
        let mut walks = Walks::default();
        let mut told = Vec::new();
        for now in (10_000..40_000).step_by(700) {
            walks.begin(at(now));
            if walks.beats(&CtEntry { opened: 10_500, last_seen: now, ..CtEntry::default() }) {
                told.push(now);
            }
        }
        // A minute is 6,000 jiffies.
        assert_eq!(told, [17_000, 22_600, 28_900, 34_500]);
    }

    #[test]
    fn silent_ones_and_back_entries_are_not_told_of() {
        let mut walks = Walks::default();
        walks.begin(at(10_000));
        walks.begin(at(20_000));
        let entry = CtEntry { opened: 9_000, last_seen: 19_000, ..CtEntry::default() };
        assert!(walks.beats(&entry));
        assert!(!walks.beats(&CtEntry { last_seen: 13_000, ..entry }), "silent");
        assert!(!walks.beats(&CtEntry { flags: flags::BACK, ..entry }));
        assert!(!walks.beats(&CtEntry { opened: 0, ..entry }), "nobody knows since when it is there");
    }

    #[test]
    fn both_entries_count() {
        let front = CtEntry { packets: [3, 0], bytes: [300, 0], last_seen: 5, ..CtEntry::default() };
        let back = CtEntry { packets: [0, 2], bytes: [0, 120], last_seen: u32::MAX, ..front };
        let both = together(&front, &back);
        assert_eq!((both.packets, both.bytes, both.last_seen), ([3, 2], [300, 120], 5));
    }
}
