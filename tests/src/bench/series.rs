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
