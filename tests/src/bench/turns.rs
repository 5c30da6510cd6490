//! One load on pairs of pods that differ in what carries it, in turns.

use anyhow::{Context, Result};

use super::{
    Report, Series,
    effort::Effort,
    in_force::v4,
    report::Pair,
    traffic::{Ends, Load, last_cpu, measure},
};
use crate::bed::Bed;

/// What takes turns.
pub(super) struct Turns<'a> {
    pub(super) bed: &'a Bed,
    /// What its quantities are called, in front of the variant's name.
    pub(super) name: &'a str,
    pub(super) variants: &'a [&'a str],
    /// The pod of a role, `client` or `server`, of the variant at a place.
    pub(super) pod: fn(&str, usize) -> String,
}

impl Turns<'_> {
    /// Rates of all variants, in interleaved rounds.
    ///
    /// # Errors
    /// If traffic does not flow.
    pub(super) fn measure(&self, load: Load, effort: &Effort) -> Result<Vec<Series>> {
        let cpu = last_cpu()?;
        let name = |variant: &&str| Series::new(format!("{}.{variant}", self.name), load.unit());
        let mut series: Vec<_> = self.variants.iter().map(name).collect();
        for round in 0..effort.rounds {
            for turn in 0..self.variants.len() {
                // Nobody is always first.
                let at = (round + turn) % self.variants.len();
                let pod = |role| self.bed.pod(&(self.pod)(role, at));
                let (client, server) = (pod("client")?, pod("server")?);
                let ends = Ends::direct(&client.netns, &server.netns, v4(&server.addresses)?.into());
                let rate = measure(load, ends, effort.each, cpu)
                    .with_context(|| format!("{}.{}, round {round}", self.name, self.variants[at]))?;
                series[at].rounds.push(rate);
            }
        }
        Ok(series)
    }

    /// Adds the quantities, and the ratios of two variants each, told or refused by the A/A pair `again`.
    pub(super) fn report<const N: usize>(
        &self,
        series: &[Series],
        again: (usize, usize),
        ratios: [(usize, usize); N],
        report: &mut Report,
    ) {
        for one in series {
            report.add(one);
        }
        let pair = |(over, under): (usize, usize)| Pair {
            name: format!("{}.{}_over_{}", self.name, self.variants[over], self.variants[under]),
            over: &series[over],
            under: &series[under],
        };
        report.compare(&pair(again), ratios.map(pair));
    }
}
