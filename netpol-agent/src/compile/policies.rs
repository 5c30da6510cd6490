use std::sync::Arc;

use netpol_common::{direction::Direction, policy::RuleId};

use super::{Compiler, rule};
use crate::{
    index::Index,
    model::{Mode, Name, Pod, Policy, Rule},
};

/// A revision of a policy.
#[derive(Debug)]
struct CompiledPolicy {
    policy: Arc<Policy>,
    /// The numbers of its rules by direction; `None` while its namespace has no pod on this node, for which they could matter.
    rules: Option<[Box<[rule::CompiledRule]>; 2]>,
}

impl CompiledPolicy {
    /// Its rules of a direction, with their numbers where it has any; `None` if it does not isolate in it.
    fn rules(&self, direction: Direction) -> Option<(&[Rule], &[rule::CompiledRule])> {
        let compiled = self.rules.as_ref().map_or(&[][..], |rules| &rules[direction as usize]);
        Some((self.policy.rules(direction)?, compiled))
    }
}

/// What there is under a policy's name.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    in_force: Option<CompiledPolicy>,
    /// The revision that is held back because it does not fit: it isolates and allows nothing.
    held_back: Option<Arc<Policy>>,
}

/// A policy that isolates a pod in a direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Isolating<'a> {
    pub(super) policy: &'a Name,
    /// Its rules of that direction, none if it allows nothing.
    pub(super) rules: &'a [Rule],
    /// Their numbers.
    pub(super) compiled: &'a [rule::CompiledRule],
}

/// What the number of a rule stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleName {
    /// The policy.
    pub policy: Name,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Which list.
    pub direction: Direction,
    /// Place in the list.
    pub index: usize,
}

/// What the number of a slot stands for, as far as records are concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotName {
    /// Which direction.
    pub direction: Direction,
    /// The policies that isolate.
    pub policies: Vec<Name>,
}

/// Both directions, by their number.
pub(super) const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

impl Compiler {
    pub(super) fn compile_policy(&mut self, name: &Name, index: &Index) {
        self.forget_rules(name);
        self.policies.remove(name);
        let wanted = index.shared_policy(name);
        let (policy, held_back) = match self.held_back.get(name) {
            Some(last_good) => (last_good.clone(), wanted),
            None => (wanted, None),
        };
        if policy.is_none() && held_back.is_none() {
            return;
        }
        let in_force = policy.map(|policy| CompiledPolicy { policy, rules: None });
        self.policies.insert(name.clone(), PolicyEntry { in_force, held_back });
        if self.inhabited.contains(&name.namespace) {
            self.number_rules(name);
        }
    }

    /// Numbers the rules of a namespace's policies as soon as it has a pod on this node, and forgets them with the last one.
    pub(super) fn inhabit(&mut self, namespace: &Arc<str>, inhabited: bool) {
        let changes = match inhabited {
            true => self.inhabited.insert(namespace.clone()),
            false => self.inhabited.remove(namespace),
        };
        if changes {
            let names: Vec<Name> = self.policies_in(namespace).map(|(name, _)| name.clone()).collect();
            for name in names {
                match inhabited {
                    true => self.number_rules(&name),
                    false => self.forget_rules(&name),
                }
            }
        }
    }

    fn number_rules(&mut self, name: &Name) {
        let entry = self.policies.get_mut(name).and_then(|entry| entry.in_force.as_mut());
        let Some(CompiledPolicy { policy, rules }) = entry else { return };
        let numbered = DIRECTIONS.map(|direction| rule::compile(policy, direction, self.ids));
        let policy = policy.clone();
        *rules = Some(numbered.clone());
        for (direction, rules) in DIRECTIONS.iter().zip(&numbered) {
            for (index, rule) in rules.iter().enumerate() {
                self.name_rule(
                    rule.id,
                    RuleName {
                        policy: name.clone(),
                        uid: policy.uid.clone(),
                        generation: policy.generation,
                        direction: *direction,
                        index,
                    },
                );
            }
        }
    }

    fn forget_rules(&mut self, name: &Name) {
        let in_force = self.policies.get_mut(name).and_then(|entry| entry.in_force.as_mut());
        for rule in in_force.and_then(|compiled| compiled.rules.take()).iter().flatten().flatten() {
            self.rule_names.set(rule.id, None);
        }
    }

    fn policies_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Name, &'a PolicyEntry)> {
        let entries = self.policies.range(Name::new(namespace, "")..);
        entries.take_while(move |(name, _)| *name.namespace == *namespace)
    }

    /// From the next update on, the last good revision of a policy counts in place of the one that does not fit, whose
    /// pods are isolated all the same.
    pub fn hold_back(&mut self, name: Name, last_good: Option<Arc<Policy>>) {
        self.held_back.insert(name, last_good);
    }

    /// From the next update on, a policy counts as it is.
    pub fn hold_back_no_more(&mut self, name: &Name) {
        self.held_back.remove(name);
    }

    /// The revision of a policy whose rules count.
    #[must_use]
    pub fn policy_in_force(&self, name: &Name) -> Option<Arc<Policy>> {
        Some(self.policies.get(name)?.in_force.as_ref()?.policy.clone())
    }

    /// The policies that isolate a pod in a direction, or with [`Mode::Audit`] would if they were not being tried, by name.
    pub fn isolating<'a>(
        &'a self,
        pod: &'a Pod,
        direction: Direction,
        index: &'a Index,
        mode: Mode,
    ) -> impl Iterator<Item = &'a Name> {
        self.isolating_rules(pod, direction, index, mode).map(|isolating| isolating.policy)
    }

    /// The same with their rules.
    pub(super) fn isolating_rules<'a>(
        &'a self,
        pod: &'a Pod,
        direction: Direction,
        index: &'a Index,
        mode: Mode,
    ) -> impl Iterator<Item = Isolating<'a>> {
        self.policies_in(&pod.name.namespace).filter_map(move |(name, entry)| {
            let in_force = entry.in_force.as_ref();
            // A revision that does not fit may say all the same how it is meant.
            let latest = entry.held_back.as_ref().or(in_force.map(|c| &c.policy))?;
            if index.mode_of(latest) != mode {
                return None;
            }
            let in_force = in_force.filter(|c| index.selects(&c.policy, pod));
            let rules = in_force.and_then(|c| c.rules(direction));
            let closes = |p: &&Arc<Policy>| index.selects(p, pod) && p.rules(direction).is_some();
            let closed = || entry.held_back.as_ref().filter(closes).map(|_| (&[][..], &[][..]));
            let (rules, compiled) = rules.or_else(closed)?;
            Some(Isolating { policy: name, rules, compiled })
        })
    }

    fn name_rule(&mut self, id: RuleId, name: RuleName) {
        if self.rule_names.rows().get(&id).is_some_and(|known| *known != name) {
            self.collisions.add("rule", id.0);
        }
        self.rule_names.set(id, Some(name));
    }
}
