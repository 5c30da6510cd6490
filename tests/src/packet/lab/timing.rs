//! How long the programs take for a packet.

use anyhow::{Result, ensure};
use netpol_agent::dataplane::kernel::RunContext;
use netpol_common::{
    lookup::{self, Question},
    names,
};

use super::{Lab, Place, Verdict};

impl Lab {
    /// Mean nanoseconds of a run over `repeat` runs on the same packet.
    ///
    /// # Errors
    /// If the kernel does not take the packet, or the verdict is not `expected`.
    pub fn time(
        &self,
        place: impl Into<Place>,
        packet: &[u8],
        repeat: u32,
        expected: Verdict,
    ) -> Result<f64> {
        let (program, context) = place.into().program();
        let outcome = self.object.test_run(program, packet, RunContext { repeat, ..context })?;
        ensure!(
            Verdict::of(program, outcome.action) == Some(expected),
            "{program} returned {}, expected {expected:?}",
            outcome.action
        );
        Ok(outcome.duration.as_nanos() as f64)
    }

    /// Mean nanoseconds of a program that does nothing.
    ///
    /// # Errors
    /// If the kernel does not take the packet.
    pub fn time_empty(&self, packet: &[u8], repeat: u32) -> Result<f64> {
        let context = RunContext { ifindex: self.uplink, ingress_ifindex: self.uplink, repeat, mark: 0 };
        Ok(self.object.test_run(names::EMPTY, packet, context)?.duration.as_nanos() as f64)
    }

    /// Mean nanoseconds of looking up these rows and nothing else, by a program that has been loaded for it.
    ///
    /// # Errors
    /// If it has not, or if one of them is not there.
    pub fn time_look_up(&self, question: &Question, repeat: u32) -> Result<f64> {
        let context = RunContext { ifindex: self.uplink, ingress_ifindex: self.uplink, repeat, mark: 0 };
        let outcome = self.object.test_run(names::LOOK_UP, &asked(question), context)?;
        ensure!(outcome.action != lookup::MISSING, "{question:?}: a row is missing");
        Ok(outcome.duration.as_nanos() as f64)
    }
}

/// The packet of [`names::LOOK_UP`].
pub(crate) fn asked(question: &Question) -> Vec<u8> {
    [&[0; lookup::HEADER], bytemuck::bytes_of(question)].concat()
}
