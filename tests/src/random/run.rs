use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    env,
    net::IpAddr,
};

use anyhow::{Context, Result, anyhow, ensure};
use netpol_agent::{dataplane::Rows, oracle::World};
use netpol_common::net::proto;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{Draw, HERE, Scene, asked, check, desired, draws, world};
use crate::station::{Desired, Ground, Opening, Station};

/// Worlds that follow each other on one node, at most.
const WORLDS: usize = 4;
/// Questions per world.
const QUESTIONS: usize = 60;
/// The seed, unless [`SEED_VARIABLE`] names another one.
const SEED: u64 = 0x6e65_7470_6f6c;
const SEED_VARIABLE: &str = "NETPOL_TEST_SEED";
/// Room for the connections of all lives of a run.
const CONNECTIONS: u32 = 65_536;

/// How much to try.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Nodes that live through random worlds.
    pub lives: u32,
    /// Attempts to make a failing life smaller.
    pub shrinking: u32,
}

/// What was found alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answered {
    /// Questions that were the node's to answer.
    pub questions: usize,
    /// Those of them that were asked through a Service.
    pub through_services: usize,
}

/// Leads nodes through random worlds, one after the other, and holds every answer against the reference evaluator.
///
/// # Errors
/// With the smallest failing life that was found, and the seed to get there again.
pub fn differential<G: Ground>(effort: Effort, ground: G) -> Result<Answered> {
    let seed = match env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{SEED_VARIABLE}={text}"))?,
        Err(_) => SEED,
    };
    println!("{} lives from seed {seed} (another one: {SEED_VARIABLE}=<number>)", effort.lives);
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: effort.lives,
        max_shrink_iters: effort.shrinking,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let lives = proptest::collection::vec((world(), draws(QUESTIONS)), 1..=WORLDS);
    let (tester, answered) = (RefCell::new(Tester::new(ground)), Cell::new(Answered::default()));
    let outcome = runner.run(&lives, |life| {
        let mut sum = answered.get();
        tester.borrow_mut().lead(&life, &mut sum).map_err(|e| TestCaseError::fail(format!("{e:#}")))?;
        answered.set(sum);
        Ok(())
    });
    outcome.map_err(|error| anyhow!("seed {seed}: {error}"))?;
    println!("answered alike: {:?}", answered.get());
    Ok(answered.get())
}

struct Tester<G: Ground> {
    ground: G,
    /// Kept from life to life, because making one takes long; not kept after a failure.
    station: Option<Station<G::Judge>>,
    next_port: u16,
    /// Connections of protocols without ports: the same two ends cannot open another one.
    portless: BTreeSet<(u8, IpAddr, IpAddr)>,
}

impl<G: Ground> Tester<G> {
    fn new(ground: G) -> Self {
        Self { ground, station: None, next_port: 0, portless: BTreeSet::new() }
    }

    fn lead(&mut self, life: &[(Scene, Vec<Draw>)], answered: &mut Answered) -> Result<()> {
        let mut station = match self.station.take() {
            Some(station) => station,
            None => {
                self.portless.clear();
                Station::new(HERE, self.ground.dataplane(CONNECTIONS)?)?
            }
        };
        for (number, (Scene(world), draws)) in life.iter().enumerate() {
            self.live(&mut station, world, draws, answered)
                .with_context(|| format!("world {} of {}", number + 1, life.len()))?;
        }
        station.follow(Desired::default())?;
        let left = station.check_rows()?;
        ensure!(left == Rows::default(), "rows are left in an empty cluster: {left:#?}");
        self.station = Some(station);
        Ok(())
    }

    fn live(
        &mut self,
        station: &mut Station<G::Judge>,
        world: &World,
        draws: &[Draw],
        answered: &mut Answered,
    ) -> Result<()> {
        station.follow(desired(world, &mut self.ground)?)?;
        station.check_rows()?;
        for draw in draws {
            // Far from every port that is asked about, and a new one each time.
            self.next_port = (self.next_port + 1) % 50_000;
            let Some(asked) = asked(world, *draw, 10_000 + self.next_port, &mut self.ground)? else {
                continue;
            };
            if !self.is_new(&asked.opening) {
                continue;
            }
            let outcome = station.judge(&asked.opening)?;
            check(world, &asked, outcome, station.attribution())?;
            answered.questions += 1;
            answered.through_services += usize::from(asked.through_service);
        }
        Ok(())
    }

    fn is_new(&mut self, opening: &Opening) -> bool {
        let Opening { src, dst, protocol, .. } = *opening;
        let has_ports = [proto::TCP, proto::UDP, proto::SCTP, proto::ICMP, proto::ICMPV6].contains(&protocol);
        has_ports || self.portless.insert((protocol, src.min(dst), src.max(dst)))
    }
}
