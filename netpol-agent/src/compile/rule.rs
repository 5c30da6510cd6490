use netpol_common::{direction::Direction, policy::RuleId};

use super::{
    feature::{Feature, FeatureId, PortName},
    ids::Ids,
};
use crate::model::{Peer, Peers, Pod, Policy, Port, PortRange, Ports, Rule};

/// The numbers of a rule of a policy. What they stand for is in the policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CompiledRule {
    pub(super) id: RuleId,
    /// Of its peers, in their order; none for [`Peers::Any`].
    peers: Box<[FeatureId]>,
}

/// Which peers a rule allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum PeerTerm {
    /// Everybody.
    Any,
    /// Whoever has one of these; sorted.
    Of(Vec<FeatureId>),
}

/// A rule as a slot holds it: named ports of ingress rules are the pod's own numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ResolvedRule {
    pub(super) id: RuleId,
    pub(super) peers: PeerTerm,
    /// Every port of every protocol.
    pub(super) any_port: bool,
    /// Otherwise these; sorted.
    pub(super) ranges: Vec<PortRange>,
    /// And the ports that the peer (egress) calls so; sorted.
    pub(super) names: Vec<PortName>,
}

/// The rules of one direction, in the order of the policy; none if it does not isolate in it.
pub(super) fn compile(policy: &Policy, direction: Direction, ids: Ids) -> Box<[CompiledRule]> {
    let rules = policy.rules(direction).into_iter().flatten().enumerate().map(|(index, rule)| {
        let id = ids.rule(policy, direction, index);
        CompiledRule { id, peers: peers(rule).iter().map(|peer| ids.feature(&feature(peer))).collect() }
    });
    rules.collect()
}

fn peers(rule: &Rule) -> &[Peer] {
    match &rule.peers {
        Peers::Any => &[],
        Peers::Of(peers) => peers,
    }
}

fn feature(peer: &Peer) -> Feature {
    match peer {
        Peer::Pods(selector) => Feature::Pods(selector.clone()),
        Peer::Block(block) => Feature::Block(block.clone()),
    }
}

impl CompiledRule {
    /// The selectors and blocks that the rule names, with their numbers.
    pub(super) fn features(&self, rule: &Rule) -> impl Iterator<Item = (FeatureId, Feature)> {
        self.peers.iter().copied().zip(peers(rule).iter().map(feature))
    }

    /// The rule as it holds for a pod; `None` if it can allow nothing.
    pub(super) fn resolve(&self, rule: &Rule, pod: &Pod, direction: Direction) -> Option<ResolvedRule> {
        let peers = match &rule.peers {
            Peers::Any => PeerTerm::Any,
            Peers::Of(_) => {
                let mut features = self.peers.to_vec();
                features.sort_unstable();
                features.dedup();
                PeerTerm::Of(features)
            }
        };
        let (mut ranges, mut names) = (Vec::new(), Vec::new());
        if let Ports::Of(ports) = &rule.ports {
            for port in ports {
                match (port, direction) {
                    (Port::Range(range), _) => ranges.push(*range),
                    (Port::Named { proto, name }, Direction::Ingress) => {
                        let own = pod.numbers_of(name, *proto);
                        ranges.extend(own.map(|port| PortRange { proto: *proto, first: port, last: port }));
                    }
                    (Port::Named { proto, name }, Direction::Egress) => names.push((name.clone(), *proto)),
                }
            }
        }
        ranges.sort_unstable();
        ranges.dedup();
        names.sort_unstable();
        names.dedup();
        let any_port = rule.ports == Ports::Any;
        let nobody = peers == PeerTerm::Of(Vec::new());
        let nowhere = !any_port && ranges.is_empty() && names.is_empty();
        (!nobody && !nowhere).then_some(ResolvedRule { id: self.id, peers, any_port, ranges, names })
    }
}
