use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{FlowRecord, Verdict};
use crate::model::Name;

/// Which records are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Only those with this pod at either end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Name>,
    /// Only those from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Filter {
    /// Whether a record is wanted.
    #[must_use]
    pub fn wants(&self, record: &FlowRecord) -> bool {
        let ends = [&record.source, &record.destination, &record.translated];
        self.verdict.is_none_or(|verdict| verdict == record.verdict)
            && self.pod.as_ref().is_none_or(|pod| ends.into_iter().flatten().any(|end| end.is_pod(pod)))
            && self.since.is_none_or(|since| record.time >= since)
    }

    /// Whether forwarded connections may be wanted, which the programs report on demand only.
    #[must_use]
    pub fn wants_forwarded(&self) -> bool {
        self.verdict != Some(Verdict::Dropped)
    }
}
