use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    env,
    net::IpAddr,
    ops::AddAssign,
};

use anyhow::{Context, Result, anyhow, ensure};
use netpol_agent::{dataplane::Rows, oracle::World};
use netpol_common::net::proto;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{Cast, Draw, Ending, HERE, Life, Stage, asked, check, desired, life};
use crate::station::{Desired, Ground, Opening, Station};

/// Lives that share a seed.
const LIVES: u32 = 16;
/// The seed, unless [`SEED_VARIABLE`] names another one.
const SEED: u64 = 0x6e65_7470_6f6c;
const SEED_VARIABLE: &str = "NETPOL_TEST_SEED";
/// Room for connections.
const CONNECTIONS: u32 = 65_536;
/// Openings after which all connections are forgotten: before their ports come round again, and well before the table is
/// full.
const OPENINGS: u16 = 8_000;

/// How much to try.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Answers to compare, at least.
    pub comparisons: usize,
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
    /// Those of them that were denied.
    pub denied: usize,
}

impl AddAssign for Answered {
    fn add_assign(&mut self, other: Self) {
        self.questions += other.questions;
        self.through_services += other.through_services;
        self.denied += other.denied;
    }
}

/// Leads nodes through random lives until there were enough comparisons, and holds every answer against the reference
/// evaluator.
///
/// # Errors
/// With the smallest failing life that was found, and the seed to get there again.
pub fn differential<G: Ground>(effort: Effort, ground: G) -> Result<Answered> {
    let seed = match env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{SEED_VARIABLE}={text}"))?,
        Err(_) => SEED,
    };
    println!("{} comparisons from seed {seed} (another one: {SEED_VARIABLE}=<number>)", effort.comparisons);
    let mut differential = Differential::new(ground);
    let mut sum = Answered::default();
    for batch in 0.. {
        if sum.questions >= effort.comparisons {
            break;
        }
        sum += differential.batch(seed.wrapping_add(batch), effort.shrinking)?;
    }
    println!("answered alike: {sum:?}");
    Ok(sum)
}

/// Random lives, batch by batch.
pub struct Differential<G: Ground>(RefCell<Tester<G>>);

impl<G: Ground> Differential<G> {
    /// On this ground.
    pub fn new(ground: G) -> Self {
        let station = None;
        Self(RefCell::new(Tester { ground, station, openings: 0, portless: BTreeSet::new() }))
    }

    /// One life from stage to stage.
    ///
    /// # Errors
    /// With the first question that is answered differently.
    pub fn lead(&mut self, stages: Vec<Stage>) -> Result<Answered> {
        let mut answered = Answered::default();
        self.0.get_mut().lead(&Life::of(stages), &mut answered)?;
        Ok(answered)
    }

    /// The lives of one seed.
    ///
    /// # Errors
    /// With the smallest failing life that was found, and the seed.
    pub fn batch(&mut self, seed: u64, shrinking: u32) -> Result<Answered> {
        let mut bytes = [0u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: LIVES,
            max_shrink_iters: shrinking,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let answered = Cell::new(Answered::default());
        let outcome = runner.run(&life(), |life| {
            let mut sum = answered.get();
            let led = self.0.borrow_mut().lead(&life, &mut sum);
            led.map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
            answered.set(sum);
            Ok(())
        });
        outcome.map_err(|error| anyhow!("seed {seed}: {error}"))?;
        Ok(answered.get())
    }
}

struct Tester<G: Ground> {
    ground: G,
    /// Kept from life to life, because making one takes long; not kept after a failure.
    station: Option<Station<G::Judge>>,
    /// Since connections were forgotten.
    openings: u16,
    /// Connections of protocols without ports: the same two ends cannot open another one.
    portless: BTreeSet<(u8, IpAddr, IpAddr)>,
}

impl<G: Ground> Tester<G> {
    fn lead(&mut self, life: &Life, answered: &mut Answered) -> Result<()> {
        let mut station = match self.station.take() {
            Some(station) => station,
            None => {
                self.openings = 0;
                self.portless.clear();
                Station::new(HERE, self.ground.dataplane(CONNECTIONS)?)?
            }
        };
        let (mut world, mut ending) = (life.world.0.clone(), Ending::default());
        station.follow(desired(&world, &mut self.ground)?)?;
        self.ask(&mut station, &world, &life.draws, answered).context("in the first world")?;
        for (number, step) in (1..).zip(&life.steps) {
            step.happen(&mut world, &mut ending);
            station.follow_in_disorder(desired(&world, &mut self.ground)?, step.order)?;
            self.ask(&mut station, &world, &step.draws, answered)
                .with_context(|| format!("after step {number} of {}", life.steps.len()))?;
        }
        station.follow(Desired::default())?;
        let left = station.check_rows()?;
        ensure!(left == Rows::default(), "rows are left in an empty cluster: {left:#?}");
        self.station = Some(station);
        Ok(())
    }

    fn ask(
        &mut self,
        station: &mut Station<G::Judge>,
        world: &World,
        draws: &[Draw],
        answered: &mut Answered,
    ) -> Result<()> {
        station.check_rows()?;
        let cast = Cast::of(world);
        for draw in draws {
            if self.openings == OPENINGS {
                station.forget_connections()?;
                self.openings = 0;
                self.portless.clear();
            }
            self.openings += 1;
            // Far from every port that is asked about, and a new one each time.
            let Some(asked) = asked(&cast, *draw, 10_000 + self.openings, &mut self.ground)? else {
                continue;
            };
            if !self.is_new(&asked.opening) {
                continue;
            }
            let outcome = station.judge(&asked.opening)?;
            check(world, &asked, outcome, station.attribution())?;
            answered.questions += 1;
            answered.through_services += usize::from(asked.through_service);
            answered.denied += usize::from(outcome.is_denied());
        }
        Ok(())
    }

    fn is_new(&mut self, opening: &Opening) -> bool {
        let Opening { src, dst, protocol, .. } = *opening;
        let has_ports = [proto::TCP, proto::UDP, proto::SCTP, proto::ICMP, proto::ICMPV6].contains(&protocol);
        has_ports || self.portless.insert((protocol, src.min(dst), src.max(dst)))
    }
}
