use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use netpol_common::{
    peer::{CidrRow, PeerRow},
    policy::{ClassId, PolicyKey, SlotId},
};

use super::{ClassContent, Compiler, Concerned};
use crate::{index::Index, model::Pod};

/// A class that some address or prefix has.
#[derive(Debug)]
pub(super) struct Class {
    content: ClassContent,
    /// Addresses and prefixes that have it.
    uses: usize,
    /// Slots with a row for it.
    pub(super) slots: BTreeSet<SlotId>,
}

impl Compiler {
    /// Gives each address and prefix its class.
    pub(super) fn classify(&mut self, concerned: &Concerned, index: &Index) {
        let mut retired = Vec::new();
        let mut last: Option<ClassContent> = None;
        for addr in &concerned.addresses {
            let owner = index.owner(*addr);
            self.note_owner(*addr, owner);
            let content =
                owner.and_then(|pod| self.features.of_pod((*addr, pod), index, self.ids, last.as_ref()));
            if let Some(content) = content.as_ref().filter(|content| last.as_ref() != Some(content)) {
                last = Some(content.clone());
            }
            let row = content.as_ref().map(|content| {
                let interface = owner.and_then(|pod| index.interface_of(pod));
                PeerRow { class: content.id, ifindex: interface.map_or(0, |i| i.ifindex), flags: 0 }
            });
            let old = match content {
                Some(content) => {
                    let id = self.acquire_class(content);
                    self.peers.insert(*addr, id)
                }
                None => self.peers.remove(addr),
            };
            retired.extend(old);
            self.desired.peers.set(*addr, row);
        }
        for prefix in &concerned.prefixes {
            let content = self.features.of_prefix(prefix, self.ids);
            let row = content.as_ref().map(|content| CidrRow { class: content.id });
            let old = match content {
                Some(content) => {
                    let id = self.acquire_class(content);
                    self.prefixes.insert(*prefix, id)
                }
                None => self.prefixes.remove(prefix),
            };
            retired.extend(old);
            self.desired.cidrs.set(*prefix, row);
        }
        // After all are acquired, so that what passes from address to address is not made anew.
        for class in retired {
            self.release_class(class);
        }
    }

    fn note_owner(&mut self, addr: IpAddr, new: Option<&Arc<Pod>>) {
        let old = match new {
            Some(new) => self.owners.insert(addr, new.clone()),
            None => self.owners.remove(&addr),
        };
        let is_it = |old: &Pod| new.is_some_and(|new| (&new.name, &new.uid) == (&old.name, &old.uid));
        if old.is_some_and(|old| !is_it(&old)) {
            self.desired.passed_on.insert(addr);
        }
    }

    /// Writes the rows of a slot that is new.
    pub(super) fn fill_slot(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id) else { return };
        for class in self.features.classes_of(slot) {
            self.make_row(id, class);
        }
    }

    fn acquire_class(&mut self, content: ClassContent) -> ClassId {
        let id = content.id;
        if id == ClassId::ANY {
            return id;
        }
        if let Some(class) = self.classes.get_mut(&id) {
            class.uses += 1;
            if class.content != content {
                self.collisions.add("class", id.0);
            }
            return id;
        }
        self.features.add_class(id, &content);
        let slots = self.features.slots_of(&content);
        self.classes.insert(id, Class { content, uses: 1, slots: BTreeSet::new() });
        for slot in slots {
            self.make_row(slot, id);
        }
        id
    }

    fn release_class(&mut self, id: ClassId) {
        let Some(class) = self.classes.get_mut(&id) else { return };
        class.uses -= 1;
        if class.uses > 0 {
            return;
        }
        let Some(class) = self.classes.remove(&id) else { return };
        for slot in class.slots {
            self.drop_row(PolicyKey { slot, class: id });
            if let Some(slot) = self.slots.get_mut(&slot) {
                slot.classes.remove(&id);
            }
        }
        self.features.remove_class(id, &class.content);
    }

    fn make_row(&mut self, slot_id: SlotId, class_id: ClassId) {
        let (Some(slot), Some(class)) = (self.slots.get_mut(&slot_id), self.classes.get_mut(&class_id))
        else {
            return;
        };
        if slot.classes.contains(&class_id) {
            return;
        }
        let Some((row, set)) = slot.row(&class.content, self.ids) else { return };
        self.port_sets.acquire(row.ports, set, &mut self.collisions, &mut self.desired);
        self.desired.policy.set(PolicyKey { slot: slot_id, class: class_id }, Some(*row));
        slot.classes.insert(class_id);
        class.slots.insert(slot_id);
    }

    /// Removes a row of the policy table, and the port set that only it named.
    pub(super) fn drop_row(&mut self, key: PolicyKey) {
        if let Some(row) = self.desired.policy.rows().get(&key).copied() {
            self.desired.policy.set(key, None);
            self.port_sets.release(row.ports, &mut self.desired);
        }
    }
}
