use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::dataplane::{
    Capacity, Dataplane, Error, Grace, Op, Rows,
    kernel::{Connections, LoadOptions, Maps, NoPods, Object, Ring, RunOutcome, Sizes, Switch, Told},
};
use netpol_common::{
    config::flags, direction::Direction, event::PacketEvent, names, policy::RuleId, reason::DropReason,
};

use super::{Judge, Opening, Outcome};
use crate::packet::{Hook, run_context};

/// `TC_ACT_UNSPEC`: go on.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`
const DROP: i32 = 2;
/// `TC_ACT_REDIRECT`
const REDIRECT: i32 = 7;

/// The programs and maps, loaded and verified, but attached to nothing: packets go through `BPF_PROG_TEST_RUN`.
pub struct KernelJudge {
    object: Object,
    maps: Maps,
    connections: Connections,
    drops: Ring,
    flows: Ring,
    told: Told,
}

impl KernelJudge {
    /// Loads the programs. Interfaces in openings are those of the calling thread's network namespace; of all of them
    /// only `uplink` is known to lead to no pod.
    ///
    /// # Errors
    /// If the kernel refuses, or this binary was built without the kernel object.
    pub fn load(sizes: Sizes, uplink: u32) -> Result<Self> {
        let mut object =
            Object::load(&LoadOptions { pin_dir: None, sizes }).context("loading the programs")?;
        let maps = Maps::new(&mut object)?;
        NoPods::new(&mut object)?.set(uplink, true)?;
        // Every new connection is reported, so that a packet that some older connection lets pass cannot go unnoticed.
        maps.set_flags(flags::FAST_PATH | flags::FLOW_EVENTS, Switch::On);
        let drops = Ring::new(&mut object, names::DROP)?;
        let flows = Ring::new(&mut object, names::FLOW)?;
        let told = Told::new(&mut object)?;
        let connections = Connections::new(&mut object)?;
        Ok(Self { object, maps, connections, drops, flows, told })
    }

    /// Runs the program at `hook` on a frame.
    ///
    /// # Errors
    /// If the kernel does not take the frame, or there are more events than one of each kind.
    pub fn run(&mut self, hook: Hook, frame: &[u8]) -> Result<Ran> {
        let (program, context) = run_context(hook);
        let RunOutcome { action, packet, .. } = self.object.test_run(program, frame, context)?;
        let drop = only(&mut self.drops)?;
        if drop.is_some() {
            // The next one like it is news again.
            self.told.ask()?;
        }
        Ok(Ran { action, packet, drop, flow: only(&mut self.flows)? })
    }

    /// The epoch that connections are judged under now.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.maps.epoch()
    }
}

/// What a program did with a frame.
#[derive(Clone, PartialEq, Debug)]
pub struct Ran {
    /// The TC action.
    pub action: i32,
    /// The frame afterwards.
    pub packet: Vec<u8>,
    /// What was said of a packet that was dropped.
    pub drop: Option<PacketEvent>,
    /// What was said of a new connection.
    pub flow: Option<PacketEvent>,
}

impl Dataplane for KernelJudge {
    fn read(&self) -> Result<Rows, Error> {
        self.maps.read()
    }
    fn capacity(&self) -> Capacity {
        self.maps.capacity()
    }
    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        self.maps.apply(op)
    }
    fn apply_first(&mut self, ops: &[Op]) -> Result<usize, Error> {
        self.maps.apply_first(ops)
    }
    fn grace(&self) -> Grace {
        self.maps.grace()
    }
}

impl Judge for KernelJudge {
    fn judge(&mut self, opening: &Opening) -> Result<Outcome> {
        let Ran { action, drop, flow, .. } = self.run(opening.hook, &opening.frame())?;
        match (action, drop, flow) {
            (NEXT | REDIRECT, None, Some(flow)) => {
                let (egress, ingress) = (flow.rule_egress, flow.rule_ingress);
                Ok(Outcome::Forwarded { egress, ingress, to: destination(&flow) })
            }
            (DROP, Some(drop), None) => outcome_of(&drop),
            // Its sender is told.
            (REDIRECT, Some(drop), None) if drop.reason == DropReason::NoBackend as u8 => outcome_of(&drop),
            (action, drop, flow) => {
                bail!("action {action} for {opening:?}, with drop {drop:?} and flow {flow:?}")
            }
        }
    }

    fn forget_connections(&mut self) -> Result<()> {
        Ok(self.connections.clear()?)
    }
}

fn outcome_of(drop: &PacketEvent) -> Result<Outcome> {
    let reason = DropReason::from_u8(drop.reason).with_context(|| format!("reason of {drop:?}"))?;
    let direction = Direction::from_u8(drop.direction).with_context(|| format!("direction of {drop:?}"))?;
    match reason {
        DropReason::Policy => {
            let allowed_by = match direction {
                Direction::Egress => drop.rule_egress,
                Direction::Ingress => drop.rule_ingress,
            };
            ensure!(allowed_by == RuleId::NONE, "denied, but a rule is named that allowed it: {drop:?}");
            Ok(Outcome::Denied { by: direction, to: destination(drop) })
        }
        reason => Ok(Outcome::Dropped(reason)),
    }
}

fn destination(event: &PacketEvent) -> SocketAddr {
    let [a, b, c, d, ..] = event.nat_dst;
    let addr = if event.family == 4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(event.nat_dst) };
    SocketAddr::new(addr, event.nat_dport)
}

/// The one event of one packet.
fn only(ring: &mut Ring) -> Result<Option<PacketEvent>> {
    let drained = ring.drain(2);
    ensure!(drained.foreign == 0 && drained.events.len() < 2, "events nobody asked for: {drained:?}");
    Ok(drained.events.first().copied())
}
