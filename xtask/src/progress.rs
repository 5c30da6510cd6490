//! What a longer job is doing: step n of m, and the seconds it took.

use std::time::Instant;

use anyhow::{Context, Result};

/// Numbers the steps of one job.
#[derive(Debug)]
pub(crate) struct Progress {
    job: &'static str,
    total: usize,
    begun: usize,
}

impl Progress {
    /// `total` is the number of [`Self::step`]s to come.
    pub(crate) fn new(job: &'static str, total: usize) -> Self {
        Self { job, total, begun: 0 }
    }

    /// Announces a step, does it, and says how long it took.
    ///
    /// # Errors
    /// Those of `work`, with the step's name.
    pub(crate) fn step<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begun += 1;
        let head = format!("{} {}/{}", self.job, self.begun, self.total);
        println!("{head}  {what}");
        let start = Instant::now();
        let result = work().with_context(|| format!("{head}: {what}"))?;
        println!("{head}  done in {:.1} s", start.elapsed().as_secs_f32());
        Ok(result)
    }
}
