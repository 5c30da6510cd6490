use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, anyhow, ensure};
use netpol_agent::oracle::World;
use netpol_common::{net::proto, reason::DropReason};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{
    check::{check, chosen},
    fate::Fate,
    laws::Laws,
    read::Fragments,
    reference::Reference,
    table::Table,
    traffic::{Place, Traffic},
};
use crate::{
    packet::Hook,
    random::{HERE, Scene, addresses, desired, event, world},
    station::{Ground, KernelGround, KernelJudge, Station},
};

/// Packets in one world.
const PACKETS: usize = 5_000;
/// Connections after which all are forgotten, well before the table is full.
const CONNECTIONS: usize = 6_000;
/// Seeds that share a node, at most.
const VOLLEYS: u64 = 16;
/// Datagrams in fragments after which the programs are loaded anew: the kernel's table of them forgets the oldest of
/// 8,192, and nothing else empties it.
const DATAGRAMS: usize = 3_000;

/// What came of the packets: how many went which way.
pub type Shot = BTreeMap<String, u64>;

/// Random packets on one node, world after world.
pub struct Barrage {
    ground: KernelGround,
    node: Option<Node>,
}

struct Node {
    station: Station<KernelJudge>,
    world: World,
    table: Table,
    fragments: Fragments,
    /// The seed that it began with.
    first: u64,
}

impl Barrage {
    /// On this ground.
    #[must_use]
    pub fn new(ground: KernelGround) -> Self {
        Self { ground, node: None }
    }

    /// Sends the packets of one seed through another world, or the last one after some events; connections stay. Returns
    /// how many were compared.
    ///
    /// # Errors
    /// With the first packet whose fate is not what it should be, and the seed to begin with to come there again. The next
    /// seed begins with programs loaded anew.
    pub fn volley(&mut self, seed: u64, shot: &mut Shot) -> Result<usize> {
        let keeps = |node: &Node| seed - node.first < VOLLEYS && node.fragments.len() < DATAGRAMS;
        let node = self.node.take().filter(keeps);
        let mut node = match node {
            Some(node) => node,
            None => Node {
                station: Station::new(HERE, self.ground.dataplane(16_384)?)?,
                world: World::default(),
                table: Table::default(),
                fragments: Fragments::default(),
                first: seed,
            },
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut runner =
            TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let mut traffic = Traffic::new(seed);
        if node.world == World::default() || traffic.random.u8(..4) == 0 {
            let Scene(new) = drawn(&world(), &mut runner)?;
            node.world = new;
        } else {
            for _ in 0..traffic.random.usize(1..4) {
                drawn(&event(), &mut runner)?.happen(&mut node.world);
            }
        }
        let compared = node
            .enter(&mut self.ground, &mut traffic)
            .and_then(|laws| node.fire(laws, self.ground.uplink(), &mut traffic, shot))
            .with_context(|| {
                format!("begin with seed {}: seed {seed} in\n{:?}", node.first, Scene(node.world.clone()))
            })?;
        self.node = Some(node);
        Ok(compared)
    }
}

fn drawn<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> Result<S::Value> {
    Ok(strategy.new_tree(runner).map_err(|reason| anyhow!("{reason}"))?.current())
}

impl Node {
    fn enter(&mut self, ground: &mut KernelGround, traffic: &mut Traffic) -> Result<Laws> {
        let desired = desired(&self.world, ground)?;
        let laws = Laws::new(self.world.clone(), &desired);
        let pods = self.world.pods.iter().flat_map(addresses);
        let others = ["192.168.0.1", "192.168.0.2", "203.0.113.7", "fd01::1", "fd01::2", "2001:db8::7"];
        let others = others.into_iter().filter_map(|text| text.parse().ok());
        let places = pods.clone().chain(pods).chain(others);
        let places = places.map(|address| Place { address, interface: laws.interface(address) }).collect();
        let services = self.world.services.iter().filter_map(|service| service.spec.as_ref());
        let services = services.flat_map(|spec| {
            let addresses = spec.cluster_ips.iter().flatten().filter_map(|text| text.parse().ok());
            addresses.flat_map(|address| {
                spec.ports.iter().flatten().filter_map(move |port| {
                    let number =
                        if port.protocol.as_deref() == Some("UDP") { proto::UDP } else { proto::TCP };
                    Some((SocketAddr::new(address, u16::try_from(port.port).ok()?), number))
                })
            })
        });
        let interfaces = desired.interfaces.iter().map(|interface| interface.ifindex);
        let newcomer = ground.interface("newcomer")?;
        let ways_in = [0, ground.uplink(), newcomer].into_iter().chain(interfaces).collect();
        // One without backends is soon told.
        let often = |(address, number): &(SocketAddr, u8)| {
            laws.backends(*address, *number).is_some_and(|backends| !backends.is_empty())
        };
        let services: Vec<_> = services.collect();
        let lively: Vec<_> = services.iter().copied().filter(often).collect();
        traffic.enter(places, [services, lively.repeat(32)].concat(), ways_in);
        self.station.follow(desired)?;
        Ok(laws)
    }

    fn fire(&mut self, laws: Laws, uplink: u32, traffic: &mut Traffic, shot: &mut Shot) -> Result<usize> {
        let mut compared = 0;
        let mut reference = Reference {
            laws,
            table: std::mem::take(&mut self.table),
            fragments: std::mem::take(&mut self.fragments),
            epoch: self.station.dataplane().epoch(),
            uplink,
        };
        for number in 0..PACKETS {
            let (hook, frame) = traffic.next();
            if is_of_nobody(hook, &frame, &reference.laws) {
                continue;
            }
            let ran = self.station.dataplane_mut().run(hook, &frame)?;
            let outcome = reference.fate(hook, &frame, chosen(&ran)).and_then(|fate| {
                check(&frame, fate, &ran).with_context(|| format!("should be {fate:?}, was {ran:?}"))?;
                Ok(fate)
            });
            let fate = outcome.with_context(|| format!("packet {number}, {hook:?}: {frame:02x?}"))?;
            compared += 1;
            *shot.entry(name_of(hook, fate)).or_default() += 1;
            if let Fate::Goes { .. } = fate {
                traffic.went_through(hook, frame, ran.packet);
            }
            if reference.table.len() > CONNECTIONS {
                self.station.forget_connections()?;
                reference.table.clear();
            }
        }
        ensure!(reference.epoch == self.station.dataplane().epoch(), "the epoch changed by itself");
        (self.table, self.fragments) = (reference.table, reference.fragments);
        Ok(compared)
    }
}

/// What no node ever has: itself under the address of the pod that it speaks to, and what a pod sends to itself on another
/// pod's interface. The evaluator takes the pod for its own peer, the programs do not.
fn is_of_nobody(hook: Hook, frame: &[u8], laws: &Laws) -> bool {
    let (Hook::ToPod(here, ingress), Some((source, destination))) = (hook, ends_of(frame)) else {
        return false;
    };
    let sender = laws.interface(source);
    (ingress == 0 && sender == here) || (source == destination && sender != here)
}

/// Source and destination if the frame is an IP packet.
fn ends_of(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?));
    match frame.get(12..14)? {
        [0x08, 0x00] => v4(26).zip(v4(30)),
        [0x86, 0xdd] => v6(22).zip(v6(38)),
        _ => None,
    }
}

fn name_of(hook: Hook, fate: Fate) -> String {
    let program = if matches!(hook, Hook::FromPod(_)) { "from_pod" } else { "to_pod" };
    let what = match fate {
        Fate::Goes { opens: true, changes: [Some(_), Some(_)], .. } => "opens through a Service as another",
        Fate::Goes { opens: true, changes: [Some(_), None], .. } => "opens through a Service",
        Fate::Goes { opens: true, changes: [None, Some(_)], .. } => "opens beside another",
        Fate::Goes { opens: true, .. } => "opens",
        Fate::Goes { changes: [Some(_), Some(_)], .. } => "translated at both ends",
        Fate::Goes { changes: [Some(_), None], .. } => "translated",
        Fate::Goes { changes: [None, Some(_)], .. } => "goes on beside another",
        Fate::Goes { .. } => "goes on",
        Fate::Drops { reason, .. } => DropReason::name(reason),
        Fate::Refuses { reset: true, .. } => "reset",
        Fate::Refuses { reset: false, .. } => "unreachable",
    };
    format!("{program}: {what}")
}
