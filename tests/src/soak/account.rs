//! What was sent, held against each way in which the agent tells of it.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use netpol_agent::{
    ctl::{
        Client,
        api::{Request, Response},
    },
    flow::Verdict,
    history::Observation,
};
use serde::Serialize;

use super::records::Heard;
use crate::{bed::Agent, flows::status};

/// Something that was sent, and is told of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Account {
    /// What, and by whom.
    pub what: &'static str,
    /// So much was sent.
    pub sent: u64,
    /// So much is told of.
    pub told: u64,
    /// So much of this or of anything else was reported as lost on this way.
    pub lost: u64,
}

impl Account {
    /// Whether nothing is missing but what was reported as lost, and nothing is told of that was not.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.told <= self.sent && self.told + self.lost >= self.sent
    }
}

/// By those who made them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    /// Connections that were answered, and closed.
    pub(super) opened: u64,
    /// Packets that nobody may answer.
    pub(super) denied: u64,
}

impl Sent {
    /// Whether nothing is missing any more.
    pub(super) fn are_told(self, heard: Heard) -> bool {
        heard.opened >= self.opened
            && heard.closed >= self.opened
            && heard.singly + heard.summed >= self.denied
    }
}

/// What the agent's metrics and counters say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counted {
    opened: u64,
    dropped: u64,
    lost_flows: u64,
    lost_drops: u64,
    lost_on_disk: u64,
}

impl Counted {
    pub(super) fn of(agent: &Agent) -> Result<Self> {
        let text = |response| if let Response::Metrics(text) = response { Some(text) } else { None };
        let text = Client::connect(&agent.socket)?.ask(&Request::Metrics, text)?;
        let sum = |name: &str, labels: &[&str]| -> Result<u64> {
            let series = text.lines().filter(|line| line.starts_with(name));
            let values = series.filter(|line| labels.iter().all(|label| line.contains(label)));
            values
                .map(|line| {
                    line.rsplit(' ').next().unwrap_or_default().parse::<u64>().context(line.to_owned())
                })
                .sum()
        };
        let counters = status(agent)?.counters;
        let lost = |name: &str| counters.iter().find(|c| c.name == name).map_or(0, |counter| counter.count);
        Ok(Self {
            opened: sum("netpol_flow_records_total{", &["verdict=\"forwarded\""])?,
            dropped: sum("netpol_flow_records_total{", &["verdict=\"dropped\""])?,
            lost_flows: lost("lost-flow-events"),
            lost_drops: lost("lost-drop-events"),
            lost_on_disk: sum("netpol_flow_exports_total{", &["sink=\"store\"", "result=\"lost\""])?,
        })
    }

    /// What has come since then.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            opened: self.opened - before.opened,
            dropped: self.dropped - before.dropped,
            lost_flows: self.lost_flows - before.lost_flows,
            lost_drops: self.lost_drops - before.lost_drops,
            lost_on_disk: self.lost_on_disk - before.lost_on_disk,
        }
    }
}

/// What lies in the folder of `--flow-store`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Kept {
    opened: u64,
    dropped: u64,
}

impl Kept {
    /// Once the agent has ended.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut kept = Self::default();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let text = fs::read_to_string(entry?.path())?;
            for line in text.lines().filter(|line| !line.is_empty()) {
                let seen: Observation = serde_json::from_str(line).with_context(|| line.to_owned())?;
                match seen.verdict {
                    Verdict::Forwarded => kept.opened += seen.count,
                    Verdict::Dropped => kept.dropped += seen.count,
                    Verdict::Audit => {}
                }
            }
        }
        Ok(kept)
    }
}

/// Every way in which something is told of.
pub(super) fn accounts(sent: Sent, heard: Heard, counted: Counted, kept: Kept) -> Vec<Account> {
    let Counted { lost_flows, lost_drops, lost_on_disk, .. } = counted;
    let account = |what, sent, told, lost| Account { what, sent, told, lost };
    vec![
        account("connections opened: records", sent.opened, heard.opened, heard.lost + heard.missed),
        account("connections closed: records", sent.opened, heard.closed, heard.lost),
        account(
            "packets denied: records",
            sent.denied,
            heard.singly + heard.summed,
            heard.lost + heard.missed,
        ),
        account("connections opened: metrics", sent.opened, counted.opened, lost_flows),
        account("packets denied: metrics", sent.denied, counted.dropped, lost_drops),
        account("connections opened: on disk", sent.opened, kept.opened, lost_on_disk + lost_flows),
        account("packets denied: on disk", sent.denied, kept.dropped, lost_on_disk + lost_drops),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balances(sent: u64, told: u64, lost: u64) -> bool {
        Account { what: "", sent, told, lost }.balances()
    }

    #[test]
    fn what_is_missing_must_be_reported_and_nothing_may_be_made_up() {
        assert!(balances(10, 10, 0) && balances(10, 8, 2) && balances(10, 9, 5));
        assert!(!balances(10, 9, 0) && !balances(10, 7, 2), "missing");
        assert!(!balances(10, 11, 0) && !balances(10, 11, 3), "told of twice");
    }
}
