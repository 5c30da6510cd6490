//! What a process takes of the machine.

use std::fs;

use anyhow::{Context, Result};

/// kB of /proc in a MiB.
const MIB: f64 = 1024.0;

/// A process, as of now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Usage {
    /// User and system time since its start, in seconds.
    pub(crate) cpu: f64,
    /// Resident memory, in MiB.
    pub(crate) resident: f64,
    /// The most of it that there has been, in MiB.
    pub(crate) resident_peak: f64,
}

impl Usage {
    /// Of a process.
    ///
    /// # Errors
    /// If there is none of this number.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).context(path)
        };
        let status = read("status")?;
        let memory = |name| field(&status, name);
        Ok(Self {
            cpu: cpu_seconds(&read("stat")?)?,
            resident: memory("VmRSS:")?,
            resident_peak: memory("VmHWM:")?,
        })
    }
}

/// A field of `/proc/PID/status` in kB, as MiB.
fn field(status: &str, name: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| line.to_owned())?;
    Ok(kilobytes / MIB)
}

/// User and system time of a process (fields 14 and 15 of `/proc/PID/stat`).
fn cpu_seconds(stat: &str) -> Result<f64> {
    let fields = stat.rsplit_once(')').context("/proc/PID/stat")?.1;
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_of_this_process_show() {
        let before = Usage::of(std::process::id()).unwrap();
        let mut memory = vec![0_u8; 64 << 20];
        memory.iter_mut().step_by(512).for_each(|byte| *byte = 1);
        let after = Usage::of(std::process::id()).unwrap();
        assert!(after.resident > before.resident + 32.0, "{before:?} {after:?}");
        assert!(after.resident_peak >= after.resident && after.cpu >= before.cpu, "{before:?} {after:?}");
        drop(memory);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
