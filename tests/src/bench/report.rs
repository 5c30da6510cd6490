use serde::{Deserialize, Serialize};

use super::{Machine, Series};

/// How far the median of an A/A pair may be from 1: where it is further off, something else than what was compared has decided, and
/// the ratios beside it are refused.
pub const TOLERANCE: f64 = 0.05;

/// What a run found, as it is written to `--json`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// Quantities.
    pub measurements: Vec<Summary>,
    /// Quotients of two quantities of the same round.
    pub ratios: Vec<Ratio>,
    /// Quotients that are not told, because the same against itself was not 1.
    pub refused: Vec<Refused>,
}

/// A quantity over all rounds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// For example `packet.established.v4`.
    pub name: String,
    /// For example `ns`.
    pub unit: String,
    /// Least.
    pub min: f64,
    /// In the middle.
    pub median: f64,
    /// As much as 99 of 100 rounds do not exceed; only if there are so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Greatest.
    pub max: f64,
}

/// A quotient over all rounds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ratio {
    /// For example `rr.policed_over_raw`.
    pub name: String,
    /// Whether it is an A/A pair: the same, on two nodes.
    pub again: bool,
    /// Least.
    pub min: f64,
    /// In the middle.
    pub median: f64,
    /// Greatest.
    pub max: f64,
}

/// A quotient that is not told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// As [`Ratio::name`].
    pub name: String,
    /// The A/A pair's median, further from 1 than [`TOLERANCE`].
    pub again: f64,
}

/// Two quantities of the same rounds, one over the other.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Pair<'a> {
    pub(super) name: String,
    pub(super) over: &'a Series,
    pub(super) under: &'a Series,
}

impl Report {
    /// Adds a quantity. Without a round there is nothing to report.
    pub fn add(&mut self, series: &Series) {
        if let Some((min, median, max)) = spread(series.rounds.clone()) {
            self.measurements.push(Summary {
                name: series.name.clone(),
                unit: series.unit.to_owned(),
                min,
                median,
                p99: p99(series.rounds.clone()),
                max,
            });
        }
    }

    /// Adds quotients, round by round. `again` is the A/A pair that was measured in the same rounds: the others are refused if it is
    /// off by more than [`TOLERANCE`], and if there is none.
    pub(super) fn compare<'a>(&mut self, again: &Pair<'_>, pairs: impl IntoIterator<Item = Pair<'a>>) {
        let noise = again.ratio(true);
        let median = noise.as_ref().map_or(f64::NAN, |ratio| ratio.median);
        self.ratios.extend(noise);
        for pair in pairs {
            if (median - 1.0).abs() <= TOLERANCE {
                self.ratios.extend(pair.ratio(false));
            } else {
                self.refused.push(Refused { name: pair.name, again: median });
            }
        }
    }
}

impl Pair<'_> {
    fn ratio(&self, again: bool) -> Option<Ratio> {
        let rounds = self.over.rounds.iter().zip(&self.under.rounds).map(|(a, b)| a / b).collect();
        let (min, median, max) = spread(rounds)?;
        Some(Ratio { name: self.name.clone(), again, min, median, max })
    }
}

fn spread(mut rounds: Vec<f64>) -> Option<(f64, f64, f64)> {
    rounds.sort_by(f64::total_cmp);
    let (first, last) = (rounds.first()?, rounds.last()?);
    let middle = rounds.len() / 2;
    let median = if rounds.len() % 2 == 1 {
        rounds[middle]
    } else {
        f64::midpoint(rounds[middle - 1], rounds[middle])
    };
    Some((*first, median, *last))
}

fn p99(mut rounds: Vec<f64>) -> Option<f64> {
    rounds.sort_by(f64::total_cmp);
    let above = rounds.len() / 100;
    (above > 0).then(|| rounds[rounds.len() - 1 - above])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, rounds: [f64; 3]) -> Series {
        Series { name: name.to_owned(), unit: "1/s", rounds: rounds.into() }
    }

    fn compared(again: [f64; 3]) -> Report {
        let (a, b) = (series("a", [10.0, 40.0, 90.0]), series("b", [10.0, 20.0, 30.0]));
        let again = series("b_again", again);
        let pair = |name: &str, over, under| Pair { name: name.to_owned(), over, under };
        let mut report = Report::default();
        report.add(&a);
        report.compare(&pair("b_again_over_b", &again, &b), [pair("a_over_b", &a, &b)]);
        report
    }

    #[test]
    fn quotients_are_taken_within_a_round() {
        let report = compared([10.0, 20.0, 30.0]);
        let measured = &report.measurements[0];
        assert_eq!((measured.min, measured.median, measured.max), (10.0, 40.0, 90.0));
        let [again, ratio] = &report.ratios[..] else { panic!("{report:?}") };
        assert!(again.again && !ratio.again);
        assert_eq!((ratio.min, ratio.median, ratio.max), (1.0, 2.0, 3.0));
        assert_eq!(report.refused, []);
    }

    #[test]
    fn quotients_beside_an_a_a_pair_that_is_off_are_refused() {
        for off in [[10.0, 21.2, 32.0], [10.0, 18.8, 28.0]] {
            let report = compared(off);
            assert_eq!(
                report.ratios.iter().map(|ratio| &ratio.name[..]).collect::<Vec<_>>(),
                ["b_again_over_b"]
            );
            let [refused] = &report.refused[..] else { panic!("{report:?}") };
            assert_eq!(refused.name, "a_over_b");
            assert!((refused.again - 1.0).abs() > TOLERANCE, "{refused:?}");
        }
        // One round that is off is no median.
        assert_eq!(compared([17.0, 20.0, 30.0]).refused, []);
    }

    #[test]
    fn quotients_without_a_round_of_the_a_a_pair_are_refused() {
        let (a, b) = (series("a", [1.0; 3]), series("b", [1.0; 3]));
        let none = Series::new("b_again", "1/s");
        let mut report = Report::default();
        let pair = |name: &str, over| Pair { name: name.to_owned(), over, under: &b };
        report.compare(&pair("b_again_over_b", &none), [pair("a_over_b", &a)]);
        assert_eq!((report.ratios.len(), report.refused.len()), (0, 1));
    }
}
