//! The flow records of a bed's agents, as `netpolctl flows --follow` gives them.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    bed::{Agent, program},
    probe::Protocol,
};

/// Collects the records of all agents from now on.
#[derive(Debug, Default)]
pub struct FlowLog {
    records: Records,
    followers: Vec<Child>,
}

/// When each record came, and the record.
type Records = Arc<Mutex<Vec<(Instant, Value)>>>;

/// What a record is looked up by.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Protocol of the probe.
    pub protocol: Protocol,
    /// The connection's own end; for ICMP the port is the identifier.
    pub source: SocketAddr,
    /// Where the probe went, before any translation.
    pub target: SocketAddr,
    /// Records that came before this are of other tries.
    pub since: Instant,
}

impl FlowLog {
    /// Starts to follow.
    ///
    /// # Errors
    /// If `netpolctl` does not start.
    pub fn follow(agents: &[Agent]) -> Result<Self> {
        let mut log = Self::default();
        for agent in agents {
            let mut child = Command::new(program("netpolctl")?)
                .arg("--socket")
                .arg(&agent.socket)
                .args(["-o", "json", "flows", "--follow"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("netpolctl")?;
            let stdout = child.stdout.take().context("no stdout")?;
            log.followers.push(child);
            let records = log.records.clone();
            thread::Builder::new().name("flows".to_owned()).spawn(move || {
                // Ends with the follower.
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    match serde_json::from_str(&line) {
                        Ok(record) => {
                            records
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push((Instant::now(), record));
                        }
                        Err(e) => eprintln!("netpolctl flows: {e}: {line}"),
                    }
                }
            })?;
        }
        Ok(log)
    }

    /// The records of a try.
    #[must_use]
    pub fn of(&self, wanted: &Wanted) -> Vec<Value> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records
            .iter()
            .filter(|(at, r)| *at >= wanted.since && matches(r, wanted))
            .map(|(_, r)| r.clone())
            .collect()
    }

    /// Every record so far.
    #[must_use]
    pub fn all(&self) -> Vec<Value> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(_, r)| r.clone()).collect()
    }
}

impl Drop for FlowLog {
    fn drop(&mut self) {
        for follower in &mut self.followers {
            if let Err(e) = follower.kill().and_then(|()| follower.wait()) {
                eprintln!("ending netpolctl: {e}");
            }
        }
    }
}

fn matches(record: &Value, wanted: &Wanted) -> bool {
    let Wanted { protocol, source, target, .. } = wanted;
    let end = |name: &str| {
        let addr = record[name]["address"].as_str().or_else(|| record[name]["addr"].as_str())?;
        Some((addr.parse().ok()?, record[name]["port"].as_u64().unwrap_or(0)))
    };
    let (Some((from, sport)), Some((to, dport))) = (end("source"), end("destination")) else { return false };
    let named = record["protocol"].as_str().unwrap_or_default().to_lowercase();
    let ports = *protocol == Protocol::Icmp || (sport, dport) == (source.port().into(), target.port().into());
    named.starts_with(protocol.name()) && (from, to) == (source.ip(), target.ip()) && ports
}
