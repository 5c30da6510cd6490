use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use netpol_agent::dataplane::{
    Capacity, Dataplane, Error, Frontend, Grace, Op, Rows,
    fake::Fake,
    judge::{Packet, Tables, Verdict, judge},
};
use netpol_common::{direction::Direction, endpoint::flags, limits, policy::RuleId, reason::DropReason};

use super::{Ground, Judge, Opening, Outcome};
use crate::packet::Hook;

/// Rows in memory, and packets judged as the programs judge them, without a kernel.
#[derive(Debug)]
pub struct ModelJudge(Fake);

impl Default for ModelJudge {
    fn default() -> Self {
        Self(Fake::new(Capacity {
            ports: limits::PORT as usize,
            policy: limits::POLICY as usize,
            cidrs: limits::CIDR as usize,
            peers: limits::PEER as usize,
            endpoints: limits::EP as usize,
            frontends: limits::FRONTEND as usize,
            services: limits::SERVICE as usize,
            backends: limits::BACKEND as usize,
            members: limits::MEMBER as usize,
            ranges: limits::RANGE as usize,
            service_nets: limits::SERVICE_NET as usize,
            cluster: limits::CLUSTER as usize,
        }))
    }
}

impl ModelJudge {
    /// Whether there is a row for the address.
    #[must_use]
    pub fn has_peer(&self, addr: IpAddr) -> bool {
        self.0.rows().peers.contains_key(&addr)
    }
}

impl Dataplane for ModelJudge {
    fn read(&self) -> Result<Rows, Error> {
        self.0.read()
    }
    fn capacity(&self) -> Capacity {
        self.0.capacity()
    }
    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        self.0.apply(op)
    }
    fn grace(&self) -> Grace {
        self.0.grace()
    }
}

impl Judge for ModelJudge {
    fn judge(&mut self, opening: &Opening) -> Result<Outcome> {
        let rows = self.0.rows();
        let here = match opening.hook {
            Hook::FromPod(ifindex) | Hook::ToPod(ifindex, _) => ifindex,
        };
        if rows.endpoint(here).is_none_or(|row| row.flags & flags::READY == 0) {
            return Ok(Outcome::Dropped(DropReason::Pending));
        }
        if let Hook::FromPod(ifindex) = opening.hook
            && rows.peer(opening.src).map(|row| row.ifindex) != Some(ifindex)
        {
            return Ok(Outcome::Dropped(DropReason::Spoofed));
        }
        let Opening { src, mut dst, protocol: proto, sport, mut dport, .. } = *opening;
        if let Hook::ToPod(_, 0) = opening.hook {
            let (egress, ingress) = (RuleId::ELSEWHERE, RuleId::NODE);
            return Ok(Outcome::Forwarded { egress, ingress, to: SocketAddr::new(dst, dport) });
        }
        if let Hook::FromPod(_) = opening.hook
            && let Some(backends) = rows.backends(&Frontend { addr: dst, port: dport, proto })
        {
            let Some(backend) = backends.get(usize::from(sport) % backends.len().max(1)) else {
                return Ok(Outcome::Dropped(DropReason::NoBackend));
            };
            (dst, dport) = (backend.addr, backend.port);
        }
        let to = SocketAddr::new(dst, dport);
        let judgement = judge(rows, Packet { src, dst, proto, dport });
        Ok(match (judgement.egress, judgement.ingress) {
            (Verdict::Pending, _) => Outcome::Dropped(DropReason::Pending),
            (Verdict::Denied(_), _) => Outcome::Denied { by: Direction::Egress, to },
            (_, Verdict::Pending) => Outcome::Dropped(DropReason::Pending),
            (_, Verdict::Denied(_)) => Outcome::Denied { by: Direction::Ingress, to },
            (Verdict::Allowed(egress), Verdict::Allowed(ingress)) => {
                Outcome::Forwarded { egress, ingress, to }
            }
        })
    }

    fn forget_connections(&mut self) -> Result<()> {
        // It never knew any.
        Ok(())
    }
}

/// Interfaces by numbers only, and no kernel.
#[derive(Clone, Debug, Default)]
pub struct ModelGround {
    known: BTreeMap<String, u32>,
}

impl Ground for ModelGround {
    type Judge = ModelJudge;

    fn dataplane(&mut self, _connections: u32) -> Result<ModelJudge> {
        Ok(ModelJudge::default())
    }
    fn interface(&mut self, owner: &str) -> Result<u32> {
        // 0 is no interface, 1 the loopback's and 2 the uplink's.
        let next = 3 + u32::try_from(self.known.len())?;
        Ok(*self.known.entry(owner.to_owned()).or_insert(next))
    }
    fn uplink(&self) -> u32 {
        2
    }
}
