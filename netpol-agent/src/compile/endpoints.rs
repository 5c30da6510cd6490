use std::collections::BTreeSet;

use netpol_common::{
    endpoint::{EndpointRow, flags},
    policy::{ClassId, PolicyKey, SlotId},
};

use super::{
    Compiler, Concerned,
    policies::{DIRECTIONS, SlotName},
    slot::Slot,
};
use crate::{
    index::Index,
    model::{Mode, Name, Pod},
};

/// A pod of this node whose interface was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CompiledEndpoint {
    pub(super) ifindex: u32,
    /// By direction; [`SlotId::NONE`] where it is not isolated.
    pub(super) slots: [SlotId; 2],
}

impl Compiler {
    pub(super) fn endpoints_in(&self, namespace: &str) -> Vec<Name> {
        let from = Name::new(namespace, "");
        let names = self.endpoints.range(from..).map(|(name, _)| name);
        names.take_while(|name| *name.namespace == *namespace).cloned().collect()
    }

    /// Gives each pod the slots that its policies make, and returns the slots that were not in use before.
    pub(super) fn compile_endpoints(
        &mut self,
        pods: &BTreeSet<Name>,
        index: &Index,
        concerned: &mut Concerned,
    ) -> Vec<SlotId> {
        let mut fresh = Vec::new();
        let mut retired = Vec::new();
        let mut rows = Vec::new();
        let mut left = BTreeSet::new();
        for name in pods {
            let found = index.pod(name).and_then(|pod| Some((pod, index.interface_of(pod)?)));
            if found.is_some() {
                self.inhabit(&name.namespace, true);
            }
            let new = found.map(|(pod, interface)| {
                let mut row = EndpointRow {
                    flags: flags::READY | flags::FAST_PATH,
                    master: interface.master,
                    ..EndpointRow::default()
                };
                if interface.adopting {
                    row.flags |= flags::ADOPTING;
                }
                let slots = DIRECTIONS.map(|direction| {
                    let Some((slot, mode)) = self.slot_for(pod, direction, index) else {
                        return SlotId::NONE;
                    };
                    if mode == Mode::Audit {
                        row.flags |= [flags::AUDIT_IN, flags::AUDIT_OUT][direction as usize];
                    }
                    self.acquire_slot(slot, index, concerned, &mut fresh)
                });
                [row.slot_in, row.slot_out] = slots;
                row.flags |= self.slot_flags(slots);
                rows.push((interface.ifindex, row));
                CompiledEndpoint { ifindex: interface.ifindex, slots }
            });
            let old = match new {
                Some(new) => self.endpoints.insert(name.clone(), new),
                None => {
                    left.insert(&name.namespace);
                    self.endpoints.remove(name)
                }
            };
            if let Some(old) = old {
                self.desired.endpoints.set(old.ifindex, None);
                retired.extend(old.slots);
            }
        }
        // After all are taken off, so that two pods may swap interfaces.
        for (ifindex, row) in rows {
            self.desired.endpoints.set(ifindex, Some(row));
        }
        for namespace in left {
            if self.endpoints_in(namespace).is_empty() {
                self.inhabit(namespace, false);
            }
        }
        // After all are acquired, so that what passes from pod to pod is not made anew.
        for slot in retired {
            self.release_slot(slot, index, concerned);
        }
        fresh
    }

    /// What isolates a pod in a direction; `None` if nothing does. Policies that are being tried have a say where no other has: what
    /// those deny that are not is denied, whatever the others allow, and what they allow nobody would deny.
    fn slot_for(
        &self,
        pod: &Pod,
        direction: netpol_common::direction::Direction,
        index: &Index,
    ) -> Option<(Slot, Mode)> {
        let isolating = |mode| self.isolating_rules(pod, direction, index, mode).collect::<Vec<_>>();
        let slot = |policies: &[_]| Slot::new(direction, policies, pod, self.ids);
        let enforced = isolating(Mode::Enforce);
        if !enforced.is_empty() || index.inherits_isolation(pod, direction) {
            return Some((slot(&enforced), Mode::Enforce));
        }
        let tried = isolating(Mode::Audit);
        (!tried.is_empty()).then(|| (slot(&tried), Mode::Audit))
    }

    fn acquire_slot(
        &mut self,
        mut slot: Slot,
        index: &Index,
        concerned: &mut Concerned,
        fresh: &mut Vec<SlotId>,
    ) -> SlotId {
        let id = slot.id(self.ids);
        match self.slots.get_mut(&id) {
            Some(known) => {
                if !known.same_content(&slot) {
                    self.collisions.add("slot", id.0);
                }
                known.uses += 1;
            }
            None => {
                self.features.add_slot(id, &slot, index, concerned, &mut self.collisions);
                if let Some((row, set)) = &slot.any {
                    self.port_sets.acquire(row.ports, set, &mut self.collisions, &mut self.desired);
                    self.desired.policy.set(PolicyKey { slot: id, class: ClassId::ANY }, Some(*row));
                }
                let name = SlotName { direction: slot.direction, policies: slot.policies.clone() };
                self.slot_names.set(id, Some(name));
                slot.uses = 1;
                self.slots.insert(id, slot);
                fresh.push(id);
            }
        }
        id
    }

    fn release_slot(&mut self, id: SlotId, index: &Index, concerned: &mut Concerned) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.uses -= 1;
        if slot.uses > 0 {
            return;
        }
        let Some(slot) = self.slots.remove(&id) else { return };
        for class in slot.classes.iter().chain([&ClassId::ANY]) {
            self.drop_row(PolicyKey { slot: id, class: *class });
            if let Some(class) = self.classes.get_mut(class) {
                class.slots.remove(&id);
            }
        }
        self.slot_names.set(id, None);
        self.features.remove_slot(id, &slot, index, concerned);
    }

    fn slot_flags(&self, [slot_in, slot_out]: [SlotId; 2]) -> u32 {
        let of = |slot: SlotId, isolated: u32, any: u32| match self.slots.get(&slot) {
            None => 0,
            Some(slot) if slot.any.is_some() => isolated | any,
            Some(_) => isolated,
        };
        of(slot_in, flags::ISOLATED_IN, flags::ANY_IN) | of(slot_out, flags::ISOLATED_OUT, flags::ANY_OUT)
    }
}
