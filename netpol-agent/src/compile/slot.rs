use std::collections::{BTreeMap, BTreeSet};

use netpol_common::{
    direction::Direction,
    policy::{ClassId, PolicyRow, PortSetId, RuleId},
};

use super::{
    feature::{Feature, FeatureId, PortName},
    features::ClassContent,
    ids::Ids,
    policies::Isolating,
    ports::{PortSet, PortSets},
    rule::{PeerTerm, ResolvedRule},
};
use crate::model::{Name, NamedPort, Pod, PortRange};

/// The rules that isolate a pod in one direction.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) direction: Direction,
    /// Who isolates.
    pub(super) policies: Vec<Name>,
    rules: Vec<ResolvedRule>,
    /// The selectors and blocks that the rules name.
    pub(super) features: BTreeMap<FeatureId, Feature>,
    /// The ports that the rules mean by the peers' names.
    pub(super) names: BTreeSet<PortName>,
    /// Rules without peers.
    open: Vec<usize>,
    by_feature: BTreeMap<FeatureId, Vec<usize>>,
    /// What the rules without peers say; `None` if there are none.
    pub(super) any: Option<(PolicyRow, PortSet)>,
    /// Classes that have a row of their own.
    pub(super) classes: BTreeSet<ClassId>,
    /// Pods that use it.
    pub(super) uses: usize,
    /// Rows by the rules and named ports that make them: many classes meet the same rules.
    known: BTreeMap<(Vec<usize>, Vec<NamedPort>), (PolicyRow, PortSet)>,
}

impl Slot {
    /// Of the rules of policies that isolate `pod`, in the order of their names.
    pub(super) fn new(direction: Direction, isolating: &[Isolating<'_>], pod: &Pod, ids: Ids) -> Self {
        let mut rules = Vec::new();
        let mut features = BTreeMap::new();
        for (compiled, rule) in isolating.iter().flat_map(|policy| policy.compiled.iter().zip(policy.rules)) {
            let Some(resolved) = compiled.resolve(rule, pod, direction) else { continue };
            features.extend(compiled.features(rule));
            rules.push(resolved);
        }
        let (mut open, mut by_feature) = (Vec::new(), BTreeMap::<_, Vec<usize>>::new());
        for (place, rule) in rules.iter().enumerate() {
            match &rule.peers {
                PeerTerm::Any => open.push(place),
                PeerTerm::Of(ids) => ids.iter().for_each(|id| by_feature.entry(*id).or_default().push(place)),
            }
        }
        let mut slot = Self {
            direction,
            policies: isolating.iter().map(|isolating| isolating.policy.clone()).collect(),
            names: rules.iter().flat_map(|rule| rule.names.iter().cloned()).collect(),
            rules,
            features,
            open,
            by_feature,
            any: None,
            classes: BTreeSet::new(),
            uses: 0,
            known: BTreeMap::new(),
        };
        let any = slot.judge(&slot.open.clone(), &[], ids);
        slot.any = Some(any).filter(|(row, _)| *row != NOTHING);
        slot
    }

    /// Whether two slots are the same, apart from who uses them.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        self.direction == other.direction && self.policies == other.policies && self.rules == other.rules
    }

    pub(super) fn id(&self, ids: Ids) -> netpol_common::policy::SlotId {
        ids.slot(self.direction, &self.policies, &self.rules)
    }

    /// What the slot says of a class, where it differs from what it says of everybody.
    pub(super) fn row(&mut self, class: &ClassContent, ids: Ids) -> Option<&(PolicyRow, PortSet)> {
        let own = class.features.iter().filter_map(|feature| self.by_feature.get(feature)).flatten();
        let matched: BTreeSet<usize> = own.chain(&self.open).copied().collect();
        let named = |p: &&NamedPort| self.names.contains(&(p.name.clone(), p.proto));
        let key: (Vec<usize>, Vec<NamedPort>) =
            (matched.into_iter().collect(), class.ports.iter().filter(named).cloned().collect());
        if !self.known.contains_key(&key) {
            let row = self.judge(&key.0, &key.1, ids);
            self.known.insert(key.clone(), row);
        }
        let everybody = self.any.as_ref().map_or(NOTHING, |(row, _)| *row);
        self.known.get(&key).filter(|(row, _)| *row != everybody)
    }

    /// What these rules allow together.
    fn judge(&self, matched: &[usize], ports: &[NamedPort], ids: Ids) -> (PolicyRow, PortSet) {
        let rules = || matched.iter().filter_map(|place| self.rules.get(*place));
        if let Some(rule) = rules().find(|rule| rule.any_port) {
            return (PolicyRow { any: rule.id, ..NOTHING }, PortSet::default());
        }
        let mut ranges: Vec<(PortRange, RuleId)> = Vec::new();
        for rule in rules() {
            ranges.extend(rule.ranges.iter().map(|range| (*range, rule.id)));
            let own = ports.iter().filter(|p| rule.names.contains(&(p.name.clone(), p.proto)));
            ranges.extend(own.map(|p| (PortRange { proto: p.proto, first: p.port, last: p.port }, rule.id)));
        }
        PortSets::number(&ranges, ids)
    }
}

/// A row that allows nothing.
const NOTHING: PolicyRow =
    PolicyRow { any: RuleId::NONE, ports: PortSetId::NONE, tcp: 0, udp: 0, sctp: 0, pad: 0 };
