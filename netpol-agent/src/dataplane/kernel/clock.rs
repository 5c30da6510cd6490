//! The kernel's jiffies, in which entries and events are dated, as times.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, SystemTime},
};

use netpol_common::names;

use super::{Object, RunError, Switches, bpf};

/// Frequencies that kernels are built with.
const USUAL_HZ: [u32; 4] = [100, 250, 300, 1000];
/// Two samples this far apart tell those frequencies from each other: at least 20 jiffies lie between them.
const CALIBRATION: Duration = Duration::from_millis(200);
/// What the program returns: the low 31 bits.
const MASK: u32 = i32::MAX.cast_unsigned();

/// Reads jiffies by running a program, finds out how long one is, and tells the programs.
pub struct Clock {
    program: ClockProgram,
    switches: Switches,
    first: Option<(u32, Duration)>,
    hz: Option<u32>,
}

/// One moment in jiffies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Jiffies {
    /// Low 31 bits.
    now: u32,
    /// Jiffies in a second.
    hz: u32,
}

impl Clock {
    pub(super) fn new(program: ClockProgram, switches: Switches) -> Self {
        Self { program, switches, first: None, hz: None }
    }

    /// The moment now. `at` is the same moment on a clock that never jumps. `None`: called too short a time for the
    /// frequency to be known.
    ///
    /// # Errors
    ///
    /// If the kernel does not run the program.
    pub fn now(&mut self, at: Duration) -> Result<Option<Jiffies>, RunError> {
        let now = self.program.jiffies()?;
        let (first, since) = *self.first.get_or_insert((now, at));
        if self.hz.is_none() {
            self.hz = frequency(first, now, at.saturating_sub(since));
            if let Some(hz) = self.hz {
                self.switches.set_frequency(hz);
            }
        }
        Ok(self.hz.map(|hz| Jiffies { now, hz }))
    }
}

/// The program, without the object that it came from: that keeps the instructions of all programs.
pub(super) struct ClockProgram(OwnedFd);

impl ClockProgram {
    pub(super) fn of(object: &mut Object) -> Result<Self, RunError> {
        let program = object.program(names::CLOCK).map_err(|error| failed(io::Error::other(error)))?;
        let fd = program.fd().map_err(|error| failed(io::Error::other(error)))?;
        Ok(Self(fd.as_fd().try_clone_to_owned().map_err(failed)?))
    }

    /// The low 31 bits of the kernel's jiffies.
    pub(super) fn jiffies(&self) -> Result<u32, RunError> {
        // The kernel takes no packet shorter than an Ethernet header.
        Ok(bpf::run(self.0.as_fd(), &[0; 64]).map_err(failed)? & MASK)
    }
}

fn failed(source: io::Error) -> RunError {
    RunError { program: names::CLOCK.into(), source: source.into() }
}

/// Jiffies in a second, from two samples; `None` if they are too close.
fn frequency(first: u32, second: u32, apart: Duration) -> Option<u32> {
    if apart < CALIBRATION {
        return None;
    }
    let passed = second.wrapping_sub(first) & MASK;
    let measured = f64::from(passed) / apart.as_secs_f64();
    let usual = USUAL_HZ.into_iter().find(|hz| (measured - f64::from(*hz)).abs() <= f64::from(*hz) * 0.08);
    Some(usual.unwrap_or((measured.round() as u32).max(1)))
}

impl Jiffies {
    /// A moment, for tests.
    #[cfg(test)]
    pub(super) const fn new(now: u32, hz: u32) -> Self {
        Self { now, hz }
    }

    /// How long ago `then` was (its higher bits do not matter). What seems to lie ahead has just happened.
    #[must_use]
    pub fn age(self, then: u32) -> Duration {
        let passed = self.now.wrapping_sub(then) & MASK;
        if passed > MASK / 2 { Duration::ZERO } else { self.last(passed) }
    }

    /// The time of an event before or after this moment, which was at `at`.
    #[must_use]
    pub fn time_of(self, event: u64, at: SystemTime) -> SystemTime {
        let before = self.now.wrapping_sub(event as u32) & MASK;
        let time = if before > MASK / 2 {
            at.checked_add(self.last((MASK - before) + 1))
        } else {
            at.checked_sub(self.last(before))
        };
        time.unwrap_or(at)
    }

    fn last(self, jiffies: u32) -> Duration {
        Duration::from_secs(u64::from(jiffies / self.hz))
            + Duration::from_secs(1) * (jiffies % self.hz) / self.hz
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequency_snaps_to_what_kernels_are_built_with() {
        let apart = Duration::from_millis(250);
        for (passed, hz) in [(25, 100), (62, 250), (63, 250), (75, 300), (74, 300), (250, 1000), (249, 1000)]
        {
            assert_eq!(frequency(5, 5 + passed, apart), Some(hz), "{passed} jiffies");
        }
        assert_eq!(frequency(MASK - 10, 52, apart), Some(250), "over the wrap");
        assert_eq!(frequency(0, 25, Duration::from_millis(199)), None);
    }

    #[test]
    fn age_survives_the_wrap_and_never_lies_ahead() {
        let now = Jiffies { now: 100, hz: 250 };
        assert_eq!(now.age(50), Duration::from_millis(200));
        assert_eq!(now.age(u32::MAX - 149), Duration::from_secs(1));
        assert_eq!(now.age(101), Duration::ZERO);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(now.time_of(0x7_0000_0032, wall), wall - Duration::from_millis(200));
        assert_eq!(now.time_of(125, wall), wall + Duration::from_millis(100), "after the moment");
    }
}
