use std::env;

/// The seed, unless [`SEED_VARIABLE`] names another one.
const SEED: u64 = 0x6368_616e_6765;
const SEED_VARIABLE: &str = "NETPOL_TEST_SEED";

/// Random numbers from a seed that is printed: SplitMix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        let seed = env::var(SEED_VARIABLE).map_or(SEED, |text| text.parse().expect(SEED_VARIABLE));
        println!("seed {seed} (another one: {SEED_VARIABLE}=<number>)");
        Self(seed)
    }

    /// Less than `below`.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % below as u64) as usize
    }

    /// True in so many of 100 cases.
    pub(crate) fn percent(&mut self, of_100: usize) -> bool {
        self.below(100) < of_100
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
