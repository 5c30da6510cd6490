//! Who reaches whom, for many pairs at once.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};

use super::{Attempt, MIN_SIZE, Outcome, Protocol};
use crate::bed::{Bed, Family, Place};

/// One question: may `from` open a connection to this port of pod `to`?
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cell {
    /// Who asks.
    pub from: Place,
    /// `namespace/name` of the pod that is asked.
    pub to: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// The pod's port.
    pub port: u16,
    /// In which family.
    pub family: Family,
}

/// Connections that are tried at the same time.
const PARALLEL: usize = 256;
/// A denied packet is not coming back later either.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long an answer may take when nothing is left to wait for.
const LAST: Duration = Duration::from_secs(1);

impl Bed {
    /// Tries every cell once, with fresh connections. Outcomes come in the order of the cells.
    ///
    /// # Errors
    /// If a pod is not running or has no address of the family.
    pub fn try_cells(&self, cells: &[Cell], patience: Duration) -> Result<Vec<Outcome>> {
        let attempts = cells.iter().map(|cell| self.attempt(cell, patience)).collect::<Result<Vec<_>>>()?;
        let outcomes = stream::iter(attempts)
            .map(|attempt| async move { attempt.make().await.1 })
            .buffered(PARALLEL)
            .collect::<Vec<_>>();
        Ok(self.runtime().block_on(outcomes))
    }

    /// Tries cells until each was as expected once (`true`: an answer, `false`: silence), and then all of them once
    /// more. Returns those that are not as expected, with what was seen.
    ///
    /// # Errors
    /// If a pod is not running or has no address of the family.
    pub fn settle(&self, expected: &[(Cell, bool)], within: Duration) -> Result<Vec<(Cell, Outcome)>> {
        let started = Instant::now();
        let deadline = started + within;
        let mut open = expected.to_vec();
        loop {
            let last = Instant::now() >= deadline;
            let wrong = self.wrong(&open, if last { LAST } else { PATIENCE })?;
            if wrong.is_empty() {
                // What is about to change could be met, and met again, before it does.
                self.runtime()
                    .block_on(async { tokio::time::sleep_until((started + PATIENCE).into()).await });
                return self.wrong(expected, LAST);
            }
            if last {
                return Ok(wrong);
            }
            open.retain(|(cell, _)| wrong.iter().any(|(w, _)| w == cell));
        }
    }

    fn wrong(&self, expected: &[(Cell, bool)], patience: Duration) -> Result<Vec<(Cell, Outcome)>> {
        let mut wrong = Vec::new();
        for allowed in [false, true] {
            let cells: Vec<_> =
                expected.iter().filter(|(_, a)| *a == allowed).map(|(c, _)| c.clone()).collect();
            let outcomes = self.try_cells(&cells, if allowed { patience } else { PATIENCE })?;
            let as_expected = |outcome: &Outcome| match outcome {
                Outcome::Answered(_) => allowed,
                Outcome::Silent => !allowed,
                Outcome::Refused(_) | Outcome::Broken(_) | Outcome::Status(_) => false,
            };
            wrong.extend(cells.into_iter().zip(outcomes).filter(|(_, outcome)| !as_expected(outcome)));
        }
        Ok(wrong)
    }

    fn attempt(&self, cell: &Cell, timeout: Duration) -> Result<Attempt> {
        let Cell { from, to, protocol, port, family } = cell;
        let addresses = &self.pod(to)?.addresses;
        let addr = addresses.iter().find(|a| Family::of(**a) == *family);
        let addr = addr.with_context(|| format!("pod {to} has no IPv{} address", family.number()))?;
        let (from, to) = (self.netns(from)?, SocketAddr::new(*addr, *port));
        Ok(Attempt { from, protocol: *protocol, to, size: MIN_SIZE, timeout })
    }
}
