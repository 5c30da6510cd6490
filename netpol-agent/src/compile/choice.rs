use std::{net::IpAddr, sync::Arc};

use super::Backends;
use crate::{
    dataplane::Backend,
    index::{Endpoint, Hint},
};

/// Who answers for a Service's port, by where its clients are and what its traffic policies say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Choice {
    /// Under a policy of `Cluster`.
    pub(super) cluster: Backends,
    /// Under a policy of `Local`: backends of this node.
    pub(super) local: Backends,
    /// Who may go on answering for a client that it has answered before.
    pub(super) members: Arc<[Backend]>,
}

/// The endpoints that answering is spread over, as kube-proxy's `CategorizeEndpoints` chooses them: whoever is ready; only if
/// nobody is, who is about to end and still answers (KEP-1669). Hints (KEP-2433, KEP-3015) narrow down the ready ones of the
/// cluster, never those of this node, and never who is about to end.
pub(super) fn choose<'a>(
    endpoints: impl Iterator<Item = (&'a (IpAddr, u16), &'a Endpoint)> + Clone,
) -> Choice {
    let preference = Preference::of(endpoints.clone().map(|(_, endpoint)| endpoint));
    let ready = pick(endpoints.clone(), |e| e.ready && preference.accepts(e));
    let local = pick(endpoints.clone(), |e| e.ready && e.local);
    let members = pick(endpoints.clone(), |e| e.ready || e.is_draining());
    Choice {
        cluster: if ready.all.is_empty() { pick(endpoints.clone(), Endpoint::is_draining) } else { ready },
        local: if local.all.is_empty() { pick(endpoints, |e| e.is_draining() && e.local) } else { local },
        members: members.all,
    }
}

/// Those who satisfy a condition, local ones first.
fn pick<'a>(
    endpoints: impl Iterator<Item = (&'a (IpAddr, u16), &'a Endpoint)> + Clone,
    condition: impl Fn(&Endpoint) -> bool + Copy,
) -> Backends {
    let chosen = endpoints.filter(|(_, e)| condition(e));
    let side = |local| {
        let side = chosen.clone().filter(move |(_, e)| e.local == local);
        side.map(|((addr, port), _)| Backend { addr: *addr, port: *port })
    };
    let all: Vec<Backend> = side(true).chain(side(false)).collect();
    // An empty slice of its own would take memory.
    let all = if all.is_empty() { Arc::default() } else { all.into() };
    Backends { n_local: side(true).count(), all }
}

/// Which hints count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Preference {
    SameNode,
    SameZone,
    None,
}

impl Preference {
    /// Hints count if every ready endpoint has one and one of them names this place; those of the node before those of the
    /// zone.
    fn of<'a>(endpoints: impl Iterator<Item = &'a Endpoint> + Clone) -> Self {
        let counts = |hint: fn(&Endpoint) -> Hint| {
            let mut hints = endpoints.clone().filter(|e| e.ready).map(hint);
            let (mut all, mut here) = (true, false);
            hints.by_ref().for_each(|hint| {
                all &= hint != Hint::Absent;
                here |= hint == Hint::Here;
            });
            all && here
        };
        match (counts(|e| e.node_hint), counts(|e| e.zone_hint)) {
            (true, _) => Self::SameNode,
            (false, true) => Self::SameZone,
            (false, false) => Self::None,
        }
    }

    fn accepts(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::SameNode => endpoint.node_hint == Hint::Here,
            Self::SameZone => endpoint.zone_hint == Hint::Here,
            Self::None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Endpoints written as words: `ready` or `draining` or `unready`, `here`, `node=here|elsewhere`, `zone=here|elsewhere`.
    /// The last byte of an address is its place in the list.
    fn endpoints(list: &[&str]) -> BTreeMap<(IpAddr, u16), Endpoint> {
        let parsed = list.iter().zip(1u8..).map(|(words, place)| {
            let mut endpoint = Endpoint::default();
            for word in words.split(' ') {
                match word {
                    "ready" => (endpoint.ready, endpoint.serving) = (true, true),
                    "draining" => (endpoint.serving, endpoint.terminating) = (true, true),
                    "ending" => endpoint.terminating = true,
                    "unready" => {}
                    "here" => endpoint.local = true,
                    "node=here" => endpoint.node_hint = Hint::Here,
                    "node=elsewhere" => endpoint.node_hint = Hint::Elsewhere,
                    "zone=here" => endpoint.zone_hint = Hint::Here,
                    "zone=elsewhere" => endpoint.zone_hint = Hint::Elsewhere,
                    other => panic!("{other}"),
                }
            }
            ((IpAddr::from([10, 0, 0, place]), 80), endpoint)
        });
        parsed.collect()
    }

    fn places(backends: &[Backend]) -> Vec<u8> {
        let last = |backend: &Backend| match backend.addr {
            IpAddr::V4(addr) => addr.octets()[3],
            IpAddr::V6(_) => 0,
        };
        backends.iter().map(last).collect()
    }

    #[test]
    fn whoever_is_ready_answers_else_who_is_about_to_end() {
        for (name, list, cluster, local, members) in [
            ("nobody", &[][..], &[][..], &[][..], &[][..]),
            ("ready ones", &["ready here", "ready", "unready here"], &[1, 2], &[1], &[1, 2]),
            ("local ones come first", &["ready", "ready here", "ready"], &[2, 1, 3], &[2], &[2, 1, 3]),
            ("nobody of this node", &["ready", "unready here"], &[1], &[], &[1]),
            ("draining beside ready", &["ready", "draining"], &[1], &[], &[1, 2]),
            ("draining here, ready elsewhere", &["draining here", "ready"], &[2], &[1], &[1, 2]),
            ("ready here, draining elsewhere", &["ready here", "draining"], &[1], &[1], &[1, 2]),
            ("draining only", &["draining here", "draining", "unready"], &[1, 2], &[1], &[1, 2]),
            ("ending without serving", &["ending here", "ending"], &[], &[], &[]),
            ("unready only", &["unready here", "unready"], &[], &[], &[]),
        ] {
            let endpoints = endpoints(list);
            let choice = choose(endpoints.iter());
            assert_eq!(places(&choice.cluster.all), cluster, "{name}: cluster");
            assert_eq!(places(&choice.local.all), local, "{name}: local");
            assert_eq!(places(&choice.members), members, "{name}: members");
        }
    }

    #[test]
    fn hints_count_if_all_have_one_and_one_names_this_place() {
        for (name, list, cluster) in [
            ("zones", &["ready zone=here", "ready zone=elsewhere", "ready zone=here"][..], &[1, 3][..]),
            ("one without a zone", &["ready zone=here", "ready"], &[1, 2]),
            ("no zone of ours", &["ready zone=elsewhere", "ready zone=elsewhere"], &[1, 2]),
            ("unready ones do not matter", &["ready zone=here", "ready zone=elsewhere", "unready"], &[1]),
            ("unready ones do not help", &["ready zone=elsewhere", "unready zone=here"], &[1]),
            (
                "the node before the zone",
                &["ready node=here zone=elsewhere", "ready node=elsewhere zone=here"],
                &[1],
            ),
            (
                "the zone if no node is ours",
                &["ready node=elsewhere zone=elsewhere", "ready node=elsewhere zone=here"],
                &[2],
            ),
            ("the zone if one lacks a node", &["ready node=here zone=elsewhere", "ready zone=here"], &[2]),
            ("never those about to end", &["draining zone=here", "draining zone=elsewhere"], &[1, 2]),
        ] {
            let endpoints = endpoints(list);
            assert_eq!(places(&choose(endpoints.iter()).cluster.all), cluster, "{name}");
        }
    }

    #[test]
    fn hints_say_nothing_of_a_local_policy() {
        let endpoints = endpoints(&["ready here zone=elsewhere node=elsewhere", "ready zone=here node=here"]);
        let choice = choose(endpoints.iter());
        assert_eq!(places(&choice.cluster.all), [2]);
        assert_eq!(places(&choice.local.all), [1]);
        assert_eq!(places(&choice.members), [1, 2], "whom a hint leaves out may go on answering");
    }
}
