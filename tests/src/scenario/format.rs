//! The format of scenario files, `tests/README.md` in types. Unknown fields are errors: a misspelt expectation would
//! otherwise be one that always holds.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use super::target::{Target, place};
use crate::{
    bed::{ClusterSpec, Cni, Family, NodeSpec, Place},
    probe::Protocol,
};

/// A scenario file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What must hold, in words.
    pub name: String,
    #[serde(default = "both", deserialize_with = "families")]
    pub(super) families: Vec<Family>,
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    pub(super) objects: Vec<Value>,
    #[serde(default)]
    files: Vec<PathBuf>,
    pub(super) steps: Vec<Step>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Cluster {
    #[serde(default)]
    nodes: Vec<ClusterNode>,
    #[serde(default)]
    outside: Vec<String>,
    /// Further arguments of each agent.
    #[serde(default)]
    agents: Vec<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct ClusterNode {
    name: String,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    cni: Plugin,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "lowercase")]
enum Plugin {
    #[default]
    Ptp,
    Bridge,
}

/// Changes, and what must be seen after them.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) name: String,
    /// Nodes whose agents are killed.
    #[serde(default)]
    pub(super) stop: Vec<String>,
    /// Nodes whose agents are started again.
    #[serde(default)]
    pub(super) start: Vec<String>,
    #[serde(default)]
    pub(super) apply: Vec<Value>,
    #[serde(default)]
    pub(super) delete: Vec<Deletion>,
    #[serde(default = "two_seconds", deserialize_with = "duration")]
    pub(super) within: Duration,
    #[serde(default)]
    pub(super) probe: Vec<Probe>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Deletion {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) namespace: String,
    pub(super) name: String,
}

/// One line of expectation.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    #[serde(deserialize_with = "place_field")]
    pub(super) from: Place,
    #[serde(deserialize_with = "target_field")]
    pub(super) to: Target,
    #[serde(default = "tcp", deserialize_with = "protocol")]
    pub(super) protocol: Protocol,
    #[serde(default)]
    pub(super) expect: Expect,
    #[serde(default)]
    pub(super) direction: Option<Way>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) by: Option<Vec<String>>,
    #[serde(default)]
    flow: Option<String>,
    #[serde(default)]
    pub(super) answered_by: Option<Vec<String>>,
    #[serde(default = "one")]
    pub(super) count: usize,
    #[serde(default, deserialize_with = "optional_place")]
    pub(super) seen_from: Option<Place>,
    #[serde(default)]
    pub(super) sticky: bool,
    #[serde(default)]
    pub(super) size: usize,
    /// How a request over HTTP is answered.
    #[serde(default)]
    pub(super) status: Option<u16>,
    /// One try after another, at this pace.
    #[serde(default, deserialize_with = "optional_duration")]
    pub(super) every: Option<Duration>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub(super) enum Expect {
    #[default]
    Ok,
    /// An answer, and a record that says which policies would have denied it.
    Audit,
    Drop,
    Refuse,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    Ingress,
    Egress,
}

impl Way {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl Probe {
    /// The label of the connection that this probe uses; `None` for a fresh one each.
    pub(super) fn label(&self) -> Option<&str> {
        self.flow.as_deref().filter(|label| *label != "new")
    }

    fn check(&self) -> Result<()> {
        let about_drops = self.direction.is_some() || self.reason.is_some() || self.by.is_some();
        ensure!(
            !about_drops
                || self.expect == Expect::Drop
                || (self.expect == Expect::Audit && self.reason.is_none()),
            "direction, reason and by go with expect: drop, direction and by with expect: audit"
        );
        let about_answers = self.answered_by.is_some() || self.seen_from.is_some() || self.sticky;
        ensure!(
            !about_answers || matches!(self.expect, Expect::Ok | Expect::Audit),
            "answered_by, seen_from and sticky go with expect: ok and audit"
        );
        ensure!(
            !about_answers || matches!(self.protocol, Protocol::Tcp | Protocol::Udp),
            "an echo reply does not say who answered: answered_by, seen_from and sticky need tcp or udp"
        );
        ensure!(
            !self.protocol.is_packets()
                || (self.label().is_none() && self.size == 0 && self.expect != Expect::Refuse),
            "{} is probed by single packets, without flow, size and expect: refuse",
            self.protocol.name()
        );
        let is_http = self.protocol == Protocol::Http;
        ensure!(
            !is_http || (self.label().is_none() && self.size == 0 && self.expect != Expect::Drop),
            "http is probed by single requests, without flow, size and expect: drop"
        );
        ensure!(
            is_http == self.status.is_some() || self.expect != Expect::Ok,
            "an answer over http, and no other, has a status"
        );
        ensure!(self.status.is_none() || self.expect == Expect::Ok, "status goes with expect: ok");
        ensure!(
            self.every.is_none() || self.count > 1,
            "every is the time between one try and the next: count"
        );
        ensure!(self.count > 0, "count: 0 would prove nothing");
        ensure!(
            self.count == 1 || self.label().is_none(),
            "count goes with fresh connections, not with flow: {:?}",
            self.flow
        );
        ensure!(self.size <= crate::serve::MAX_MESSAGE, "size: at most {}", crate::serve::MAX_MESSAGE);
        Ok(())
    }
}

impl Scenario {
    /// Reads a file, and those that it names.
    ///
    /// # Errors
    /// With file, line and field.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut scenario = Self::parse(&text).with_context(|| path.display().to_string())?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for file in std::mem::take(&mut scenario.files) {
            scenario.objects.extend(read_objects(&folder.join(file))?);
        }
        Ok(scenario)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let scenario: Self = serde_saphyr::from_str_with_options(text, yaml())?;
        for step in &scenario.steps {
            for (number, probe) in (1..).zip(&step.probe) {
                probe.check().with_context(|| format!("step {:?}, probe {number}", step.name))?;
            }
        }
        ensure!(!scenario.steps.is_empty(), "steps: there is none");
        Ok(scenario)
    }

    /// Further arguments of each agent.
    pub(super) fn agent_arguments(&self) -> &[String] {
        &self.cluster.agents
    }

    /// The cluster it wants.
    pub(super) fn cluster(&self) -> ClusterSpec {
        let nodes = self.cluster.nodes.iter().map(|node| {
            let cni = match node.cni {
                Plugin::Ptp => Cni::Ptp,
                Plugin::Bridge => Cni::Bridge,
            };
            NodeSpec { name: node.name.clone(), zone: node.zone.clone(), cni }
        });
        let nodes: Vec<_> = nodes.collect();
        ClusterSpec {
            nodes: if nodes.is_empty() { ClusterSpec::default().nodes } else { nodes },
            outside: self.cluster.outside.clone(),
            families: self.families.clone(),
        }
    }
}

/// The Kubernetes objects of a file with any number of YAML documents.
///
/// # Errors
/// With the file, if it cannot be read.
pub fn read_objects(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_saphyr::from_multiple_with_options(&text, yaml()).with_context(|| path.display().to_string())
}

/// As YAML 1.2 has it: a pod may be called `y`.
fn yaml() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

fn both() -> Vec<Family> {
    Family::ALL.to_vec()
}
const fn tcp() -> Protocol {
    Protocol::Tcp
}
const fn one() -> usize {
    1
}
const fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn families<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Family>, D::Error> {
    let numbers = Vec::<u8>::deserialize(from)?;
    let families = numbers.iter().map(|n| Family::from_number(*n)).collect::<Option<Vec<_>>>();
    families.filter(|f| !f.is_empty()).ok_or_else(|| D::Error::custom("families: some of 4 and 6"))
}

fn protocol<'de, D: Deserializer<'de>>(from: D) -> Result<Protocol, D::Error> {
    let name = String::deserialize(from)?;
    Protocol::from_name(&name).ok_or_else(|| {
        let names: Vec<_> = Protocol::ALL.iter().map(|p| p.name()).collect();
        D::Error::custom(format!("not a protocol: {name:?} ({})", names.join(", ")))
    })
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

fn parse_duration(text: &str) -> Result<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().with_context(|| format!("not a duration: {text:?}"))?;
    Ok(Duration::from_secs_f64(match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => bail!("not a duration: {text:?} (500ms, 2s, 1m)"),
    }))
}

fn place_field<'de, D: Deserializer<'de>>(from: D) -> Result<Place, D::Error> {
    place(&String::deserialize(from)?).map_err(D::Error::custom)
}
fn optional_place<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Place>, D::Error> {
    place_field(from).map(Some)
}
fn target_field<'de, D: Deserializer<'de>>(from: D) -> Result<Target, D::Error> {
    String::deserialize(from)?.parse().map_err(|e: anyhow::Error| D::Error::custom(format!("{e:#}")))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
