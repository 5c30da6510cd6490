//! Policies that do not fit into the maps: which of those that have changed are held back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;
use netpol_common::{logic::ports::cover, names};

use crate::{
    compile::Compiler,
    index::Index,
    model::{Name, Peer, Peers, Policy, Port, Ports},
    plan::{Planner, Refusal, Shortage},
};

/// Policies held back one at a time; after so many, twice as many in each round, so that a batch of thousands ends.
const SINGLY: usize = 8;

/// What has changed since the last plan that fitted, and which of it is held back.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// The last good revision of each policy that has changed since; `None`: there was none.
    last_good: BTreeMap<Name, Option<Arc<Policy>>>,
    held: BTreeMap<Name, Held>,
    /// Held back for the plan in the making.
    rounds: usize,
}

#[derive(Debug)]
struct Held {
    shortage: Shortage,
    /// Rows that were free in that map then.
    room: usize,
}

impl Hold {
    /// Policies have changed; the compiler has not heard of it. Returns those to be tried again: those that have changed,
    /// and those that may fit now.
    pub(super) fn begin(
        &mut self,
        changed: &BTreeSet<Name>,
        compiler: &Compiler,
        planner: &Planner,
    ) -> Vec<Name> {
        self.rounds = 0;
        for name in changed {
            self.last_good.entry(name.clone()).or_insert_with(|| compiler.policy_in_force(name));
        }
        let again = |name: &Name, held: &Held| {
            let Shortage { map, need, capacity } = held.shortage;
            changed.contains(name) || planner.room(map) >= held.room + need.saturating_sub(capacity)
        };
        let again: Vec<Name> =
            self.held.iter().filter(|(name, held)| again(name, held)).map(|(name, _)| name.clone()).collect();
        for name in &again {
            self.held.remove(name);
        }
        again
    }

    /// The plan does not fit: which policies to hold back next, those that ask most of the map first, and what is to
    /// stay in force instead. None if all that have changed are held back already.
    pub(super) fn next(
        &mut self,
        shortage: Shortage,
        index: &Index,
        planner: &Planner,
    ) -> Vec<(Name, Option<Arc<Policy>>)> {
        let mut candidates: Vec<(usize, Name)> = self
            .last_good
            .keys()
            .filter(|name| !self.held.contains_key(name))
            .map(|name| (index.policy(name).map_or(0, |p| demand(p, shortage.map)), name.clone()))
            .collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        self.rounds += 1;
        let count = 1 << self.rounds.saturating_sub(SINGLY).min(24);
        let room = planner.room(shortage.map);
        let chosen = candidates.into_iter().take(count).map(|(_, name)| {
            self.held.insert(name.clone(), Held { shortage, room });
            let last = self.last_good.get(&name).cloned().flatten();
            (name, last)
        });
        chosen.collect()
    }

    /// The plan fits.
    pub(super) fn accepted(&mut self) {
        self.last_good.retain(|name, _| self.held.contains_key(name));
    }

    /// What is held back, and why.
    pub(super) fn refusals(&self) -> impl Iterator<Item = Refusal> {
        self.held.iter().map(|(name, held)| Refusal::Policy { policy: name.clone(), shortage: held.shortage })
    }

    /// Why a policy is held back.
    pub(super) fn of(&self, policy: &Name) -> Option<Shortage> {
        self.held.get(policy).map(|held| held.shortage)
    }
}

/// About how many rows of a map a policy asks for. It only says which of several asks for more.
fn demand(policy: &Policy, map: &str) -> usize {
    let rules = || policy.ingress.iter().chain(&policy.egress).flatten();
    let peers = || {
        rules().flat_map(|rule| match &rule.peers {
            Peers::Any => &[][..],
            Peers::Of(peers) => peers,
        })
    };
    match map {
        names::PORT => rules().map(|rule| prefixes(&rule.ports)).sum(),
        names::CIDR4 | names::CIDR6 => {
            let blocks = peers().filter_map(|peer| match peer {
                Peer::Block(block) => Some(block),
                Peer::Pods(_) => None,
            });
            let named = blocks.flat_map(|block| std::iter::once(&block.cidr).chain(&block.except));
            let named: BTreeSet<&IpNet> =
                named.filter(|net| net.addr().is_ipv4() == (map == names::CIDR4)).collect();
            named.len()
        }
        _ => peers().collect::<BTreeSet<_>>().len(),
    }
}

fn prefixes(ports: &Ports) -> usize {
    let Ports::Of(ports) = ports else { return 0 };
    let rows = ports.iter().map(|port| match port {
        Port::Range(range) => cover(range.first, range.last).count(),
        Port::Named { .. } => 1,
    });
    rows.sum()
}
