use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use netpol_common::{
    peer::CidrRow,
    policy::{ClassId, PolicyKey, PolicyRow, SlotId},
};
use sha2::{Digest, Sha256};

use super::{Planner, policy::Move};
use crate::compile::Desired;

impl Planner {
    /// Finds for each move the class that an address has in between: the final one if the leaving slots can be made to
    /// answer for it as they do for the old one, else one that stands for just this move. Adds the rows for that.
    pub(super) fn join(
        &self,
        desired: &Desired,
        leaving: &BTreeSet<SlotId>,
        moves: &BTreeSet<Move>,
        rows: &mut BTreeMap<PolicyKey, PolicyRow>,
    ) -> BTreeMap<Move, ClassId> {
        let mut sources: BTreeMap<ClassId, BTreeSet<ClassId>> = BTreeMap::new();
        for m in moves {
            sources.entry(m.to).or_default().insert(m.from);
        }
        let mut ways = BTreeMap::new();
        for (to, sources) in sources {
            if let Some(carried) = self.carry(leaving, to, &sources) {
                rows.extend(carried);
                continue;
            }
            let slots = || desired.endpoints.rows().values().flat_map(|row| [row.slot_in, row.slot_out]);
            let arriving: BTreeSet<SlotId> = slots().filter(|slot| *slot != SlotId::NONE).collect();
            for from in sources {
                let class = between(from, to);
                let row_of = |slot: &SlotId, table: &BTreeMap<PolicyKey, PolicyRow>, class| {
                    table.get(&PolicyKey { slot: *slot, class }).copied()
                };
                let old = leaving.iter().map(|slot| (*slot, row_of(slot, self.policy.actual(), from)));
                let new = arriving.iter().map(|slot| (*slot, row_of(slot, desired.policy.rows(), to)));
                for (slot, row) in old.chain(new) {
                    rows.extend(row.map(|row| (PolicyKey { slot, class }, row)));
                }
                ways.insert(Move { from, to }, class);
            }
        }
        ways
    }

    /// The rows that make the leaving slots answer for class `to` as they do for all of `sources`; `None` if they would
    /// have to answer in two ways.
    fn carry(
        &self,
        leaving: &BTreeSet<SlotId>,
        to: ClassId,
        sources: &BTreeSet<ClassId>,
    ) -> Option<Vec<(PolicyKey, PolicyRow)>> {
        let mut rows = Vec::new();
        for slot in leaving {
            let mut answers = sources.iter().map(|from| self.answer(*slot, *from));
            let wanted = answers.next()?;
            if answers.any(|other| other != wanted) {
                return None;
            }
            if self.answer(*slot, to) == wanted {
                continue;
            }
            let key = PolicyKey { slot: *slot, class: to };
            let free = to != ClassId::ANY
                && !self.class_uses.contains_key(&to)
                && !self.policy.actual().contains_key(&key);
            rows.push((key, wanted.filter(|_| free)?));
        }
        Some(rows)
    }

    /// What a slot says of a class now.
    pub(super) fn answer(&self, slot: SlotId, class: ClassId) -> Option<PolicyRow> {
        let row = |class| self.policy.actual().get(&PolicyKey { slot, class }).copied();
        row(class).or_else(|| row(ClassId::ANY))
    }
}

/// The class of addresses on their way from one class to another.
fn between(from: ClassId, to: ClassId) -> ClassId {
    let mut form = Sha256::new();
    form.update(b"between");
    form.update(from.0.to_be_bytes());
    form.update(to.0.to_be_bytes());
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(form.finalize());
    ClassId(u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1))
}

/// The class of the longest prefix around `prefix`, itself included.
pub(super) fn longest(cidrs: &BTreeMap<IpNet, CidrRow>, prefix: IpNet) -> ClassId {
    // Most nodes have no blocks at all.
    let mut around = (!cidrs.is_empty()).then_some(prefix);
    while let Some(outer) = around {
        if let Some(row) = cidrs.get(&outer) {
            return row.class;
        }
        around = outer.supernet();
    }
    ClassId::ANY
}
