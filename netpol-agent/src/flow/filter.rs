use std::str::FromStr;

use k8s_openapi::jiff::Timestamp;
use netpol_common::reason::DropReason;
use serde::{Deserialize, Serialize};

use super::{
    party::PartyRecord,
    record::{FlowRecord, Verdict},
};
use crate::model::{LabelSelector, Name};

/// Which records are wanted: those that one test of each kind of `only` holds for, and none of `not`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Tests of the same kind are alternatives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Test>,
    /// What any of these holds for is not wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<Test>,
    /// Only those from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// One thing that is asked of a record. Where nothing else is said, either end will do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// What became of it.
    Verdict(Verdict),
    /// A pod.
    Pod(Name),
    /// The pod that sent it.
    FromPod(Name),
    /// The pod that it went to.
    ToPod(Name),
    /// A pod's namespace.
    Namespace(String),
    /// A pod's labels.
    Label(LabelSelector),
    /// What made a pod, by its name: `db`, or with its kind: `StatefulSet/db`.
    Workload(String),
    /// A Service.
    Service(Name),
    /// A port, of either end.
    Port(u16),
    /// A protocol, in any case: `tcp`.
    Protocol(String),
    /// The reason for the drop.
    Reason(String),
    /// A policy that allowed it, or that isolates the pod.
    Policy(Name),
    /// `ingress` or `egress`
    Direction(String),
}

impl Filter {
    /// Whether a record is wanted.
    #[must_use]
    pub fn wants(&self, record: &FlowRecord) -> bool {
        let kind = std::mem::discriminant::<Test>;
        let holds = |wanted: &Test| {
            wanted.holds(record) || self.only.iter().any(|t| kind(t) == kind(wanted) && t.holds(record))
        };
        self.since.is_none_or(|since| record.time >= since)
            && self.only.iter().all(holds)
            && !self.not.iter().any(|test| test.holds(record))
    }

    /// Whether forwarded connections may be wanted, which the programs report on demand only.
    #[must_use]
    pub fn wants_forwarded(&self) -> bool {
        let verdicts: Vec<_> = self
            .only
            .iter()
            .filter_map(|test| if let Test::Verdict(verdict) = test { Some(*verdict) } else { None })
            .collect();
        let of_drops = self.only.iter().any(|test| matches!(test, Test::Reason(_)));
        !of_drops
            && (verdicts.is_empty() || verdicts.contains(&Verdict::Forwarded))
            && !self.not.contains(&Test::Verdict(Verdict::Forwarded))
    }
}

impl Test {
    fn holds(&self, record: &FlowRecord) -> bool {
        let ends = || [&record.source, &record.destination, &record.translated].into_iter().flatten();
        let receivers = || [&record.destination, &record.translated].into_iter().flatten();
        match self {
            Self::Verdict(verdict) => record.verdict == *verdict,
            Self::Pod(name) => ends().any(|end| end.is_pod(name)),
            Self::FromPod(name) => record.source.iter().any(|end| end.is_pod(name)),
            Self::ToPod(name) => receivers().any(|end| end.is_pod(name)),
            Self::Namespace(name) => ends().any(|end| end.namespace.as_deref() == Some(name)),
            Self::Label(selector) => ends().any(|end| end.pod.is_some() && selector.matches(&end.labels)),
            Self::Workload(wanted) => ends().any(|end| is_of(end, wanted)),
            Self::Service(name) => ends().any(|end| end.service.as_ref() == Some(name)),
            Self::Port(port) => *port != 0 && ends().any(|end| end.port == *port),
            Self::Protocol(name) => record.protocol.eq_ignore_ascii_case(name),
            Self::Reason(name) => record.reason.as_deref() == Some(name),
            Self::Policy(name) => record
                .policies
                .iter()
                .any(|policy| policy.namespace == name.namespace && policy.name == name.name),
            Self::Direction(name) => record.direction == *name,
        }
    }

    /// From a field and its value: `namespace`, `kube-system`. The fields are called as in JSON.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(field: &str, value: &str) -> Result<Self, String> {
        let name = || match value.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Name::new(namespace, name))
            }
            _ => Err(format!("{value:?} is not NAMESPACE/NAME")),
        };
        Ok(match field {
            "verdict" => Self::Verdict(match value {
                "dropped" => Verdict::Dropped,
                "forwarded" => Verdict::Forwarded,
                "audit" => Verdict::Audit,
                _ => return Err(format!("{value:?} is not dropped, forwarded or audit")),
            }),
            "pod" => Self::Pod(name()?),
            "from-pod" => Self::FromPod(name()?),
            "to-pod" => Self::ToPod(name()?),
            "namespace" => Self::Namespace(value.to_owned()),
            "label" => Self::Label(value.parse().map_err(|error| format!("{error}"))?),
            "workload" => Self::Workload(value.to_owned()),
            "service" => Self::Service(name()?),
            "port" => match value.parse() {
                Ok(port) if port != 0 => Self::Port(port),
                _ => return Err(format!("{value:?} is no port")),
            },
            "protocol" => Self::Protocol(value.to_owned()),
            "reason" if DropReason::ALL.iter().any(|reason| reason.name() == value) => {
                Self::Reason(value.to_owned())
            }
            "reason" => {
                let all: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
                return Err(format!("{value:?} is none of {}", all.join(", ")));
            }
            "policy" => Self::Policy(name()?),
            "direction" if matches!(value, "ingress" | "egress") => Self::Direction(value.to_owned()),
            "direction" => return Err(format!("{value:?} is not ingress or egress")),
            _ => return Err(format!("there is no field {field:?}")),
        })
    }
}

impl FromStr for Test {
    type Err = String;

    /// Reads `FIELD=VALUE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (field, value) = text.split_once('=').ok_or("a test is FIELD=VALUE, such as namespace=shop")?;
        Self::parse(field, value)
    }
}

fn is_of(end: &PartyRecord, wanted: &str) -> bool {
    let Some(own) = &end.workload else { return false };
    match wanted.split_once('/') {
        Some((kind, name)) => own.kind.eq_ignore_ascii_case(kind) && own.name == name,
        None => own.name == wanted,
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
