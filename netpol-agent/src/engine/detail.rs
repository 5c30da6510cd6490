//! What a record says beyond what the maps know: which peer of a rule matched, and which rule came nearest. Both are told of
//! the objects as they are now; work is in proportion to the rules of the policies in question.

use std::{collections::BTreeSet, net::IpAddr};

use netpol_common::{direction::Direction, net::proto};

use super::{
    Engine,
    view::{Name, RuleRef},
};
use crate::model::{Labels, Namespaces, Peer, Peers, PodSelector, Policy, Port, Ports, Rule};

/// Rules that are looked at; further ones of the same pod are not.
const MAX_RULES: usize = 2000;
/// Peers or ports that are listed.
const MAX_LISTED: usize = 3;

/// The end that a rule would have to name.
#[derive(Clone, Copy, Debug)]
pub struct Other<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Namespace, name and labels, if it is a pod.
    pub pod: Option<(&'a str, &'a str, &'a Labels)>,
}

/// A new connection that no rule allows.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Whose end: `Ingress` is the receiver's.
    pub direction: Direction,
    /// The policies that isolate the pod.
    pub policies: &'a [Name],
    /// The pod, if it is known.
    pub subject: Option<&'a Name>,
    /// The other end.
    pub other: Other<'a>,
    /// IANA protocol number.
    pub proto: u8,
    /// Destination port.
    pub port: u16,
}

/// How far a rule is from allowing something: the smaller, the nearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Distance {
    Port,
    Peer,
    Both,
}

impl Engine {
    /// The path of the first peer of a rule that the other end matches; `None` if the rule is for every peer, has changed, or has
    /// peers that could not be read.
    #[must_use]
    pub fn peer_of(&self, rule: &RuleRef, other: Other<'_>) -> Option<String> {
        let policy = self.index.policy(&rule.policy).filter(|policy| policy.generation == rule.generation)?;
        let Peers::Of(peers) = &policy.rules(rule.direction)?.get(rule.index)?.peers else { return None };
        let list = format!("{}.{}", rule.path, field(rule.direction));
        // Peers that could not be read are left out: the others' places are not those in the object.
        if self.index.has_error_below(&policy.name.of_kind("NetworkPolicy"), &list) {
            return None;
        }
        let place = peers.iter().position(|peer| self.is(peer, other))?;
        Some(format!("{list}[{place}]"))
    }

    /// The rule that came nearest to allowing it, in words; `None` if there is no rule.
    #[must_use]
    pub fn nearest(&self, refused: &Refused<'_>) -> Option<String> {
        let policies = refused.policies.iter().filter_map(|name| self.index.policy(name));
        let rules = policies.flat_map(|policy| {
            let rules = policy.rules(refused.direction).unwrap_or_default().iter().enumerate();
            rules.map(move |(index, rule)| (policy, index, rule))
        });
        let distances = rules.take(MAX_RULES).map(|(policy, index, rule)| {
            let peer = match &rule.peers {
                Peers::Any => true,
                Peers::Of(peers) => peers.iter().any(|peer| self.is(peer, refused.other)),
            };
            let distance = match (peer, self.has_port(rule, refused)) {
                (true, _) => Distance::Port,
                (false, true) => Distance::Peer,
                (false, false) => Distance::Both,
            };
            (distance, policy, index, rule)
        });
        // Of equals the first.
        let (distance, policy, index, rule) = distances.min_by_key(|(distance, ..)| *distance)?;
        Some(words(refused, distance, policy, index, rule))
    }

    fn is(&self, peer: &Peer, other: Other<'_>) -> bool {
        match (peer, other.pod) {
            (Peer::Block(block), _) => block.contains(other.address),
            (Peer::Pods(_), None) => false,
            (Peer::Pods(selector), Some((namespace, _, labels))) => {
                let in_namespace = match &selector.namespaces {
                    Namespaces::Named(name) => name == namespace,
                    Namespaces::Labelled(wanted) => wanted.matches(&self.index.namespace_labels(namespace)),
                };
                in_namespace && selector.pods.matches(labels)
            }
        }
    }

    fn has_port(&self, rule: &Rule, refused: &Refused<'_>) -> bool {
        let Ports::Of(ports) = &rule.ports else { return true };
        // Names are the receiver's.
        let receiver = match (refused.direction, refused.other.pod) {
            (Direction::Ingress, _) => refused.subject.cloned(),
            (Direction::Egress, pod) => pod.map(|(namespace, name, _)| Name::new(namespace, name)),
        };
        let receiver = receiver.and_then(|name| self.index.pod(&name));
        ports.iter().any(|port| match port {
            Port::Range(range) => {
                range.proto == refused.proto && (range.first..=range.last).contains(&refused.port)
            }
            Port::Named { proto, name } => {
                *proto == refused.proto
                    && receiver.is_some_and(|pod| pod.numbers_of(name, *proto).any(|n| n == refused.port))
            }
        })
    }
}

fn field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

/// `shop/db spec.ingress[0]: TCP 5432 is allowed from app=backend; app=frontend is not it`
fn words(refused: &Refused<'_>, distance: Distance, policy: &Policy, index: usize, rule: &Rule) -> String {
    let way = field(refused.direction);
    let path = format!("{} spec.{}[{index}]", policy.name, refused.direction.name());
    let (peers, ports) = (peers(&rule.peers, policy), ports(&rule.ports));
    let (who, what) = (who(refused, rule, policy), what(refused));
    match distance {
        Distance::Port => format!("{path}: {ports} is allowed {way} {peers}; {what} is not it"),
        Distance::Peer => format!("{path}: {ports} is allowed {way} {peers}; {who} is not it"),
        Distance::Both => {
            format!("{path}: {ports} is allowed {way} {peers}; {what} is not it, nor is {who}")
        }
    }
}

fn peers(peers: &Peers, policy: &Policy) -> String {
    match peers {
        Peers::Any => "everybody".to_owned(),
        Peers::Of(peers) => listed(peers.iter().map(|peer| match peer {
            Peer::Pods(selector) => pods(selector, policy),
            Peer::Block(block) if block.except.is_empty() => block.cidr.to_string(),
            Peer::Block(block) => {
                let except = listed(block.except.iter().map(ToString::to_string));
                format!("{} without {except}", block.cidr)
            }
        })),
    }
}

fn pods(selector: &PodSelector, policy: &Policy) -> String {
    let pods = match selector.pods.to_string() {
        all if all.is_empty() => "every pod".to_owned(),
        some => some,
    };
    match &selector.namespaces {
        Namespaces::Named(name) if **name == *policy.name.namespace => pods,
        Namespaces::Named(name) => format!("{pods} in namespace {name}"),
        Namespaces::Labelled(labels) if labels.requirements.is_empty() => {
            format!("{pods} in any namespace")
        }
        Namespaces::Labelled(labels) => format!("{pods} in namespaces with {labels}"),
    }
}

fn ports(ports: &Ports) -> String {
    match ports {
        Ports::Any => "every port".to_owned(),
        Ports::Of(ports) => listed(ports.iter().map(|port| match port {
            Port::Range(range) if range.first == range.last => {
                format!("{} {}", crate::flow::protocol_name(range.proto), range.first)
            }
            Port::Range(range) => {
                format!("{} {}-{}", crate::flow::protocol_name(range.proto), range.first, range.last)
            }
            Port::Named { proto, name } => format!("{} {name}", crate::flow::protocol_name(*proto)),
        })),
    }
}

fn what(refused: &Refused<'_>) -> String {
    let protocol = crate::flow::protocol_name(refused.proto);
    match refused.proto {
        proto::TCP | proto::UDP | proto::SCTP => format!("{protocol} {}", refused.port),
        _ => protocol,
    }
}

/// By the labels that the rule asks for, if that tells them apart; else by name.
fn who(refused: &Refused<'_>, rule: &Rule, policy: &Policy) -> String {
    let Some((namespace, name, labels)) = refused.other.pod else { return refused.other.address.to_string() };
    let Peers::Of(peers) = &rule.peers else { return format!("{namespace}/{name}") };
    let keys: BTreeSet<&str> = peers
        .iter()
        .filter_map(|peer| if let Peer::Pods(selector) = peer { Some(selector) } else { None })
        .flat_map(|selector| selector.pods.requirements.iter().map(|requirement| requirement.key.as_str()))
        .collect();
    let own = keys.iter().filter_map(|key| Some(format!("{key}={}", labels.get(key)?)));
    let own = own.collect::<Vec<_>>().join(",");
    match (own.is_empty(), *namespace == *policy.name.namespace) {
        (true, _) => format!("{namespace}/{name}"),
        (false, true) => own,
        (false, false) => format!("{own} in namespace {namespace}"),
    }
}

fn listed(mut items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(MAX_LISTED);
    let mut first = items.by_ref().take(MAX_LISTED).collect::<Vec<_>>();
    if first.is_empty() {
        return "nobody that could be read".to_owned();
    }
    if more > 0 {
        first.push(format!("{more} more"));
    }
    first.join(" or ")
}
