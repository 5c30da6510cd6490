//! How much work an agent does because of something.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// An agent that works no more than `IDLE` in this time has come to rest.
const LOOK: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_micros(100);
/// Something else keeps it busy if it has not come to rest by then.
const PATIENCE: Duration = Duration::from_millis(500);

/// Processor time of all threads that a process has now (`/proc/PID/task/TID/schedstat`).
pub(super) fn processor_time(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut nanoseconds = 0;
    for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
        // A thread may end meanwhile.
        if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
            let first = text.split_whitespace().next().context("schedstat is empty")?;
            nanoseconds += first.parse::<u64>().with_context(|| text.clone())?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The same, once the process does nothing any more.
pub(super) fn at_rest(pid: u32) -> Result<Duration> {
    let begin = Instant::now();
    let mut before = processor_time(pid)?;
    loop {
        thread::sleep(LOOK);
        let now = processor_time(pid)?;
        if now.saturating_sub(before) <= IDLE || begin.elapsed() > PATIENCE {
            return Ok(now);
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_process_shows_and_rest_is_waited_for() {
        let pid = std::process::id();
        let before = processor_time(pid).unwrap();
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let after = at_rest(pid).unwrap();
        assert!(after > before + Duration::from_millis(1), "{before:?} {after:?}");
        assert!(processor_time(u32::MAX).is_err());
    }
}
