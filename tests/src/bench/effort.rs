use std::time::Duration;

/// Among how many Services a load is measured.
const SIZES: [usize; 3] = [1, 1_000, 10_000];

/// How long to measure connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Effort {
    /// Each takes all variants in turns.
    pub(super) rounds: usize,
    /// One variant's turn.
    pub(super) each: Duration,
    /// Among how many Services.
    pub(super) sizes: &'static [usize],
}

impl Effort {
    /// `quick` is enough to see that all of it runs; otherwise `rounds` are what medians can be trusted by.
    pub(super) fn new(quick: bool, rounds: usize) -> Self {
        if quick {
            Self { rounds: 3, each: Duration::from_millis(40), sizes: &SIZES[..2] }
        } else {
            Self { rounds, each: Duration::from_millis(100), sizes: &SIZES }
        }
    }
}
