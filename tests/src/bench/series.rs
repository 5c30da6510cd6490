use serde::Serialize;

/// One quantity, a value per round.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// For example `packet.established.v4`.
    pub name: String,
    /// For example `ns`.
    pub unit: &'static str,
    /// In the order of the rounds, which all series of one run share.
    pub rounds: Vec<f64>,
}

/// What a run found, as it is written to `--json`.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// Quantities.
    pub measurements: Vec<Summary>,
    /// Quotients of two quantities of the same round.
    pub ratios: Vec<Ratio>,
}

/// A quantity over all rounds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// For example `packet.established.v4`.
    pub name: String,
    /// For example `ns`.
    pub unit: &'static str,
    /// Least.
    pub min: f64,
    /// In the middle.
    pub median: f64,
    /// As much as 99 of 100 rounds do not exceed; only if there are so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Greatest.
    pub max: f64,
}

/// A quotient over all rounds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Ratio {
    /// For example `rr.policed_over_raw`.
    pub name: String,
    /// Least.
    pub min: f64,
    /// In the middle.
    pub median: f64,
    /// Greatest.
    pub max: f64,
}

impl Series {
    /// An empty one.
    #[must_use]
    pub fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, rounds: Vec::new() }
    }

    /// Round by round, this less `other`.
    #[must_use]
    pub fn less(&self, other: &Self, name: impl Into<String>) -> Self {
        let rounds = self.rounds.iter().zip(&other.rounds).map(|(a, b)| a - b).collect();
        Self { name: name.into(), unit: self.unit, rounds }
    }
}

impl Report {
    /// Adds a quantity. Without a round there is nothing to report.
    pub fn add(&mut self, series: &Series) {
        if let Some((min, median, max)) = spread(series.rounds.clone()) {
            self.measurements.push(Summary {
                name: series.name.clone(),
                unit: series.unit,
                min,
                median,
                p99: p99(series.rounds.clone()),
                max,
            });
        }
    }

    /// Adds a quotient, round by round.
    pub fn add_ratio(&mut self, name: impl Into<String>, over: &Series, under: &Series) {
        let rounds = over.rounds.iter().zip(&under.rounds).map(|(a, b)| a / b).collect();
        if let Some((min, median, max)) = spread(rounds) {
            self.ratios.push(Ratio { name: name.into(), min, median, max });
        }
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

    #[test]
    fn quotients_are_taken_within_a_round() {
        let (mut over, mut under) = (Series::new("a", "1/s"), Series::new("b", "1/s"));
        over.rounds = vec![10.0, 40.0, 90.0];
        under.rounds = vec![10.0, 20.0, 30.0];
        let mut report = Report::default();
        report.add(&over);
        report.add_ratio("a_over_b", &over, &under);
        assert_eq!(
            (report.measurements[0].min, report.measurements[0].median, report.measurements[0].max),
            (10.0, 40.0, 90.0)
        );
        assert_eq!((report.ratios[0].min, report.ratios[0].median, report.ratios[0].max), (1.0, 2.0, 3.0));
    }
}
