use std::collections::BTreeMap;

use netpol_common::{
    logic::ports::{PortPrefix, cover},
    net::proto,
    policy::{PolicyRow, PortKey, PortSetId, RuleId},
};

use super::{Collisions, Desired, ids::Ids};
use crate::model::PortRange;

/// Ports that are allowed, and by which rule; prefixes do not overlap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct PortSet {
    pub(super) prefixes: Vec<SetPrefix>,
}

/// One prefix of a [`PortSet`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct SetPrefix {
    pub(super) proto: u8,
    pub(super) prefix: PortPrefix,
    pub(super) rule: RuleId,
}

impl PortSet {
    /// Of ranges in the order of their rules. Where they overlap the narrowest range names the rule, and of equally
    /// narrow ones the first.
    pub(super) fn of(ranges: &[(PortRange, RuleId)]) -> Self {
        let mut prefixes = Vec::new();
        for proto in [proto::TCP, proto::UDP, proto::SCTP] {
            let mut open: BTreeMap<(u16, usize), RuleId> = BTreeMap::new();
            // At each border ranges open and close; between two borders the same ones are open.
            let mut borders: BTreeMap<u32, Vec<(bool, u16, usize)>> = BTreeMap::new();
            for (order, (range, _)) in ranges.iter().enumerate().filter(|(_, (r, _))| r.proto == proto) {
                let width = range.last - range.first;
                borders.entry(range.first.into()).or_default().push((true, width, order));
                borders.entry(u32::from(range.last) + 1).or_default().push((false, width, order));
            }
            let mut segment: Option<(u32, RuleId)> = None;
            for (at, events) in borders {
                for (opens, width, order) in events {
                    if opens {
                        open.insert((width, order), ranges[order].1);
                    } else {
                        open.remove(&(width, order));
                    }
                }
                let rule = open.first_key_value().map(|(_, rule)| *rule);
                if segment.map(|(_, rule)| rule) != rule {
                    if let Some((first, rule)) = segment {
                        // Borders lie in 0..=65536 and a segment ends before the border that closes it.
                        let cover = cover(first as u16, (at - 1) as u16);
                        prefixes.extend(cover.map(|prefix| SetPrefix { proto, prefix, rule }));
                    }
                    segment = rule.map(|rule| (at, rule));
                }
            }
        }
        prefixes.sort_unstable();
        Self { prefixes }
    }

    /// The row of a slot and class that allow these ports.
    pub(super) fn row(&self, id: PortSetId) -> PolicyRow {
        let lengths = |proto: u8| {
            let of_proto = self.prefixes.iter().filter(|p| p.proto == proto);
            of_proto.fold(0, |bits, p| bits | 1 << p.prefix.len)
        };
        PolicyRow {
            any: RuleId::NONE,
            ports: id,
            tcp: lengths(proto::TCP),
            udp: lengths(proto::UDP),
            sctp: lengths(proto::SCTP),
            pad: 0,
        }
    }

    fn rows(&self, id: PortSetId) -> impl Iterator<Item = (PortKey, RuleId)> {
        self.prefixes.iter().map(move |p| {
            let SetPrefix { proto, prefix, rule } = *p;
            (PortKey { ports: id, port: prefix.value, proto, prefix: prefix.len, pad: 0 }, rule)
        })
    }
}

/// The port sets that policy rows name.
#[derive(Debug, Default)]
pub(super) struct PortSets {
    sets: BTreeMap<PortSetId, (PortSet, usize)>,
}

impl PortSets {
    /// One more policy row names the set.
    pub(super) fn acquire(
        &mut self,
        id: PortSetId,
        set: &PortSet,
        collisions: &mut Collisions,
        desired: &mut Desired,
    ) {
        if id == PortSetId::NONE {
            return;
        }
        let (known, uses) = self.sets.entry(id).or_insert_with(|| {
            set.rows(id).for_each(|(key, rule)| desired.ports.set(key, Some(rule)));
            (set.clone(), 0)
        });
        *uses += 1;
        if known != set {
            collisions.add("port set", id.0);
        }
    }

    /// A policy row that named the set is gone.
    pub(super) fn release(&mut self, id: PortSetId, desired: &mut Desired) {
        if let Some((set, uses)) = self.sets.get_mut(&id) {
            *uses -= 1;
            if *uses == 0 {
                set.rows(id).for_each(|(key, _)| desired.ports.set(key, None));
                self.sets.remove(&id);
            }
        }
    }

    /// Number and row for these ranges.
    pub(super) fn number(ranges: &[(PortRange, RuleId)], ids: Ids) -> (PolicyRow, PortSet) {
        let set = PortSet::of(ranges);
        let id = if set.prefixes.is_empty() { PortSetId::NONE } else { ids.ports(&set) };
        (set.row(id), set)
    }
}
