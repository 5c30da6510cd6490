//! The agent's engine on rows in memory against the reference evaluator. No kernel, no root.

use anyhow::Result;
use netpol_agent::dataplane::{Capacity, Dataplane, Error, Grace, Op, Rows};
use netpol_common::net::proto;
use netpol_tests::{
    random::{Effort, differential},
    station::{Ground, Judge, ModelGround, ModelJudge, Opening, Outcome},
};

#[test]
fn random_clusters_and_packets_get_the_evaluator_s_verdict_from_the_rows() {
    let effort = Effort { comparisons: 20_000, shrinking: 4_000 };
    let answered = differential(effort, ModelGround::default()).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(answered.through_services > 500 && answered.denied > 2_000, "too few: {answered:?}");
}

/// Mistakes that the test above must not let pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mistake {
    UdpIsTcp,
    PrefixesStay,
    PeersAreNotUpdated,
}

struct Wrong(ModelJudge, Mistake);

impl Dataplane for Wrong {
    fn read(&self) -> Result<Rows, Error> {
        self.0.read()
    }
    fn capacity(&self) -> Capacity {
        self.0.capacity()
    }
    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        match (self.1, op) {
            (Mistake::PrefixesStay, Op::DeleteCidr(_)) => Ok(()),
            (Mistake::PeersAreNotUpdated, Op::PutPeer(addr, _)) if self.0.has_peer(*addr) => Ok(()),
            _ => self.0.apply(op),
        }
    }
    fn grace(&self) -> Grace {
        self.0.grace()
    }
}

impl Judge for Wrong {
    fn judge(&mut self, opening: &Opening) -> Result<Outcome> {
        let mut opening = *opening;
        if self.1 == Mistake::UdpIsTcp && opening.protocol == proto::UDP {
            opening.protocol = proto::TCP;
        }
        self.0.judge(&opening)
    }
    fn forget_connections(&mut self) -> Result<()> {
        self.0.forget_connections()
    }
}

struct WrongGround(ModelGround, Mistake);

impl Ground for WrongGround {
    type Judge = Wrong;

    fn dataplane(&mut self, connections: u32) -> Result<Wrong> {
        Ok(Wrong(self.0.dataplane(connections)?, self.1))
    }
    fn interface(&mut self, owner: &str) -> Result<u32> {
        self.0.interface(owner)
    }
    fn uplink(&self) -> u32 {
        self.0.uplink()
    }
}

#[test]
fn mistakes_are_found() {
    for mistake in [Mistake::UdpIsTcp, Mistake::PrefixesStay, Mistake::PeersAreNotUpdated] {
        let ground = WrongGround(ModelGround::default(), mistake);
        let found = differential(Effort { comparisons: 10_000, shrinking: 0 }, ground);
        assert!(found.is_err(), "{mistake:?} was not noticed");
    }
}
