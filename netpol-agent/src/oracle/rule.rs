use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use netpol_common::direction::Direction;

use super::miss::{MissedPeer, MissedPort, PeerMiss, PortMiss};

/// A rule of either direction.
pub(super) struct Rule<'a> {
    /// `spec.ingress[0]`
    pub(super) path: String,
    peers: &'a [NetworkPolicyPeer],
    peer_field: &'static str,
    ports: &'a [NetworkPolicyPort],
}

/// The rules of one direction, in order. No list and an empty list are the same.
pub(super) fn rules_of(spec: &NetworkPolicySpec, direction: Direction) -> Vec<Rule<'_>> {
    let path = |i: usize| format!("spec.{}[{i}]", direction.name());
    match direction {
        Direction::Ingress => spec
            .ingress
            .iter()
            .flatten()
            .enumerate()
            .map(|(i, rule)| Rule {
                path: path(i),
                peers: rule.from.as_deref().unwrap_or_default(),
                peer_field: "from",
                ports: rule.ports.as_deref().unwrap_or_default(),
            })
            .collect(),
        Direction::Egress => spec
            .egress
            .iter()
            .flatten()
            .enumerate()
            .map(|(i, rule)| Rule {
                path: path(i),
                peers: rule.to.as_deref().unwrap_or_default(),
                peer_field: "to",
                ports: rule.ports.as_deref().unwrap_or_default(),
            })
            .collect(),
    }
}

/// What a rule says of a connection.
pub(super) enum Outcome {
    /// It allows it: the first peer and port that match, `None` where the rule is for all.
    Match { peer: Option<String>, port: Option<String> },
    /// It does not: why each peer or each port does not match; one of the lists may be empty.
    Miss { peers: Vec<MissedPeer>, ports: Vec<MissedPort> },
}

impl Rule<'_> {
    /// Peers and ports must both match; of each list one entry is enough, and an empty list matches everything.
    pub(super) fn try_match(
        &self,
        peer: impl Fn(&NetworkPolicyPeer) -> Result<(), PeerMiss>,
        port: impl Fn(&NetworkPolicyPort) -> Result<(), PortMiss>,
    ) -> Outcome {
        let path = &self.path;
        let peers = first_match(self.peers, |i| format!("{path}.{}[{i}]", self.peer_field), peer);
        let ports = first_match(self.ports, |i| format!("{path}.ports[{i}]"), port);
        match (peers, ports) {
            (Ok(peer), Ok(port)) => Outcome::Match { peer, port },
            (peers, ports) => Outcome::Miss {
                peers: list(peers, |path, why| MissedPeer { path, why }),
                ports: list(ports, |path, why| MissedPort { path, why }),
            },
        }
    }
}

/// The path of the first entry that matches (`None` if there are no entries), or every reason why none does.
fn first_match<T, W>(
    entries: &[T],
    path: impl Fn(usize) -> String,
    matches: impl Fn(&T) -> Result<(), W>,
) -> Result<Option<String>, Vec<(String, W)>> {
    let mut misses = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        match matches(entry) {
            Ok(()) => return Ok(Some(path(i))),
            Err(why) => misses.push((path(i), why)),
        }
    }
    if entries.is_empty() { Ok(None) } else { Err(misses) }
}

fn list<W, M>(outcome: Result<Option<String>, Vec<(String, W)>>, make: impl Fn(String, W) -> M) -> Vec<M> {
    outcome.err().into_iter().flatten().map(|(path, why)| make(path, why)).collect()
}
