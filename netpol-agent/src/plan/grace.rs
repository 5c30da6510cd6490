use std::collections::BTreeMap;

use netpol_common::{
    endpoint::EndpointRow,
    policy::{ClassId, PolicyKey, PolicyRow, SlotId},
};

use super::{Planner, policy::Move, track::Diff};
use crate::compile::Desired;

/// A change of policy, at the moment before pods get their new slots.
pub(super) struct Turn<'a> {
    pub(super) endpoints: &'a Diff<u32, EndpointRow>,
    /// From the class of an address to the one it has when the pods turn.
    pub(super) moves: &'a [Move],
    /// Rows that this change writes.
    pub(super) rows: &'a BTreeMap<PolicyKey, PolicyRow>,
}

impl Planner {
    /// Whether packets that are being judged must be waited for before pods get their new slots. One that has read an
    /// address's class before it moved may read a pod's slot after it turned: it must meet what the old slot says of the old
    /// class, or what the new one says of the new class.
    pub(super) fn must_wait(&self, desired: &Desired, turn: &Turn<'_>) -> bool {
        if turn.endpoints.puts.is_empty() {
            return false;
        }
        let mut slots = turn.endpoints.puts.iter().filter_map(|(ifindex, new)| {
            let old = self.endpoints.actual().get(ifindex)?;
            Some([(old.slot_in, new.slot_in), (old.slot_out, new.slot_out)])
        });
        // What is held from moves before this change is not known any more.
        self.classes_in_flight
            || slots.any(|pairs| pairs.iter().any(|(old, new)| self.mixes(*old, *new, desired, turn)))
    }

    fn mixes(&self, old: SlotId, new: SlotId, desired: &Desired, turn: &Turn<'_>) -> bool {
        if old == new || new == SlotId::NONE {
            return false;
        }
        let row = |class: ClassId| {
            let key = PolicyKey { slot: new, class };
            let actual = || self.policy.actual().get(&key);
            turn.rows.get(&key).or_else(|| desired.policy.rows().get(&key)).or_else(actual).copied()
        };
        let answer = |class| row(class).or_else(|| row(ClassId::ANY));
        turn.moves.iter().any(|m| {
            let met = answer(m.from);
            met != answer(m.to) && (old == SlotId::NONE || met != self.answer(old, m.from))
        })
    }
}
