use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netpol_common::{direction::Direction, net::proto};

use super::{Group, Groups};
use crate::{
    history::{
        judge::Judge,
        labels::lasting,
        observation::{Observation, ObservedParty, has_ports},
    },
    oracle::named_ports,
};

/// The port of DNS. Answers that are too long for a datagram are asked for again over TCP.
const DNS: u16 = 53;
/// More addresses than this are said to be many.
const MANY: usize = 20;

/// The other end, as a rule can name it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Peer {
    /// Pods with these labels; in the policy's own namespace if none is named. No labels: all of them.
    Pods(Option<String>, BTreeMap<String, String>),
    /// An address outside of the cluster, or a node's.
    Address(IpAddr),
}

/// Ports that a rule can name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Port {
    /// Protocol and number.
    Number(u8, u16),
    /// Protocol and the name that every pod of the workload has for it.
    Name(u8, String),
}

/// What a rule allows; `None`: everything, because something was seen that has no port to name.
pub(super) type Ports = Option<BTreeSet<Port>>;

/// The rules of one direction: the peers that may do the same are in one rule.
#[derive(Debug, Default)]
pub(super) struct Rules {
    direction: Option<Direction>,
    pub(super) rules: BTreeMap<Ports, BTreeSet<Peer>>,
    /// Peers without a label that lasts.
    unlabelled: BTreeSet<String>,
    /// Something was sent to pods of the group on other nodes.
    unknown: bool,
}

impl Rules {
    /// What the pods of a group did or received.
    pub(super) fn of(
        group: &Group,
        direction: Direction,
        seen: &[&Observation],
        groups: &Groups,
        judge: &Judge<'_>,
    ) -> Self {
        let mut rules = Self { direction: Some(direction), ..Self::default() };
        let mut peers: BTreeMap<Peer, Ports> = BTreeMap::new();
        for seen in seen {
            let (own, other) = match direction {
                Direction::Ingress => (&seen.destination, &seen.source),
                Direction::Egress => (&seen.source, &seen.destination),
            };
            // A pod's own node reaches it whatever policies say.
            let from_own_node = direction == Direction::Ingress && other.node.as_ref() == Some(&seen.node);
            if !group.has(own) || from_own_node {
                continue;
            }
            // It has left this node; the other one may have dropped it.
            if direction == Direction::Ingress && own.elsewhere {
                rules.unknown = true;
                continue;
            }
            let peer = rules.peer(group, other, groups);
            let ports = peers.entry(peer).or_insert_with(|| Some(BTreeSet::new()));
            match (&mut *ports, has_ports(seen.protocol) && seen.port > 0) {
                (Some(ports), true) => {
                    ports.insert(port(group, direction, seen, judge));
                    if direction == Direction::Egress && seen.port == DNS && seen.protocol == proto::UDP {
                        ports.insert(Port::Number(proto::TCP, DNS));
                    }
                }
                _ => *ports = None,
            }
        }
        for (peer, ports) in peers {
            rules.rules.entry(ports).or_default().insert(peer);
        }
        rules
    }

    fn peer(&mut self, group: &Group, other: &ObservedParty, groups: &Groups) -> Peer {
        let Some(namespace) = other.namespace.as_deref() else { return Peer::Address(other.address) };
        let labels = lasting(&other.labels);
        if labels.is_empty() {
            self.unlabelled.insert(format!("{namespace}/{}", other.pod.as_deref().unwrap_or_default()));
        }
        let elsewhere = (namespace != group.namespace).then(|| namespace.to_owned());
        Peer::Pods(elsewhere, groups.selector_of(namespace, &labels))
    }

    /// What is wider than what was seen, or will not last, in the policy called `name`.
    pub(super) fn notes(&self, name: &str) -> impl Iterator<Item = String> {
        let field = self.direction.map_or("", Direction::name);
        let mut notes = Vec::new();
        for (ports, peers) in &self.rules {
            let many = peers.iter().filter(|peer| matches!(peer, Peer::Address(_))).count();
            if ports.is_none() {
                let words: Vec<_> = peers.iter().map(words).collect();
                notes.push(format!(
                    "{name}: {field} with {} is allowed on every port: something without ports was seen, such as ICMP, \
                     and only a rule without ports allows that",
                    words.join(", ")
                ));
            }
            if many > MANY {
                notes.push(format!("{name}: {field} with {many} addresses: a wider ipBlock may be meant"));
            }
        }
        if self.unknown {
            notes.push(format!(
                "{name}: what its pods on other nodes receive is left out; their agents know what policies let in"
            ));
        }
        for pod in &self.unlabelled {
            notes.push(format!(
                "{name}: {field} with all pods of a namespace, because {pod} has no label that lasts"
            ));
        }
        notes.into_iter()
    }
}

fn words(peer: &Peer) -> String {
    match peer {
        Peer::Address(address) => address.to_string(),
        Peer::Pods(namespace, labels) => {
            let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let namespace = namespace.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            if labels.is_empty() {
                format!("all pods{namespace}")
            } else {
                format!("pods {}{namespace}", labels.join(","))
            }
        }
    }
}

/// By name where every pod of the workload that is there calls this port so, and no other: the name stays when the number changes.
fn port(group: &Group, direction: Direction, seen: &Observation, judge: &Judge<'_>) -> Port {
    let number = Port::Number(seen.protocol, seen.port);
    if direction == Direction::Egress {
        return number;
    }
    let pods = judge.stand_ins(&group.namespace, &group.labels);
    let Some((first, rest)) = pods.split_first() else { return number };
    let containers = first.spec.iter().flat_map(|spec| &spec.containers);
    let names = containers.flat_map(|c| c.ports.iter().flatten()).filter_map(|port| port.name.as_deref());
    let is_it = |pod, name| named_ports(Some(pod), name, seen.protocol) == [seen.port];
    let name = names.into_iter().find(|name| is_it(*first, name) && rest.iter().all(|pod| is_it(*pod, name)));
    name.map_or(number, |name| Port::Name(seen.protocol, name.to_owned()))
}
