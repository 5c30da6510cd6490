use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use rustix::{system::uname, thread::sched_getaffinity};
use serde::{Deserialize, Serialize};

use super::traffic::last_cpu;

/// Where a run took place: figures of two machines are not each other's.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// Its release, as `uname -r` says it.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// Cores that the run might use.
    pub cores: u32,
    /// The one that connections were measured on, client and server.
    pub measured_on: usize,
    /// Processes that ran or wanted to, on average of the minute before.
    pub load: f64,
    /// Whether the benchmark was built optimised. Figures of one that was not are none of netpol's.
    pub optimised: bool,
}

impl Machine {
    /// This one, now.
    ///
    /// # Errors
    /// If /proc does not say.
    pub fn find() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
        let info = read("/proc/cpuinfo")?;
        let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = read("/proc/loadavg")?;
        let load = load.split_whitespace().next().context("/proc/loadavg is empty")?;
        Ok(Self {
            began: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            kernel: uname().release().to_string_lossy().into_owned(),
            processor: processor.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            cores: sched_getaffinity(None)?.count(),
            measured_on: last_cpu()?,
            load: load.parse().context("/proc/loadavg")?,
            optimised: !cfg!(debug_assertions),
        })
    }
}
