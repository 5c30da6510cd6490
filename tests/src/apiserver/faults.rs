//! What a test lets the server do wrong.

use std::{collections::BTreeSet, time::Duration};

use super::{resource::Resource, rights::Rights, status::Status};

/// Switches. All are off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every request is answered with 503.
    pub unavailable: bool,
    /// Every request is answered so much later.
    pub delay: Duration,
    /// Lists are empty, as if the data were lost.
    pub empty: bool,
    /// Lists are not streamed: `sendInitialEvents` is refused.
    pub no_streaming: bool,
    /// `sendInitialEvents` is passed over, as servers before 1.27 do.
    pub ignores_streaming: bool,
    /// What the client may do; without it, everything.
    pub rights: Option<Rights>,
    /// Kinds, by plural, that the client may not read.
    pub forbidden: BTreeSet<String>,
    /// Kinds, by plural, that the server does not have.
    pub absent: BTreeSet<String>,
    /// Tokens that are accepted; without any, whoever asks.
    pub tokens: BTreeSet<String>,
}

impl Faults {
    /// What is said instead of an answer to whoever comes with `token`.
    pub(super) fn refusal(&self, token: Option<&str>) -> Option<Status> {
        if self.unavailable {
            return Some(Status::new(503, "ServiceUnavailable", "etcd has no leader"));
        }
        let known = self.tokens.is_empty() || token.is_some_and(|token| self.tokens.contains(token));
        (!known).then(|| Status::new(401, "Unauthorized", "Unauthorized"))
    }

    pub(super) fn refusal_of(&self, resource: &Resource, verb: &str) -> Option<Status> {
        if self.absent.contains(resource.plural) {
            return Some(Status::new(404, "NotFound", "the server could not find the requested resource"));
        }
        if let Some(refusal) = self.rights.as_ref().and_then(|rights| rights.refusal(resource, verb)) {
            return Some(refusal);
        }
        self.forbidden.contains(resource.plural).then(|| {
            let message =
                format!("{} is forbidden: cannot list resource {0:?} at the cluster scope", resource.plural);
            Status::new(403, "Forbidden", message)
        })
    }
}
