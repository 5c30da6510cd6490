//! What the maps say of a connection, in words.

use netpol_common::policy::RuleId;

use super::api::{MapsAnswer, MapsVerdict};
use crate::{
    dataplane::{
        Rows,
        judge::{self, Packet, Verdict},
    },
    flow::Names,
};

/// Where a packet comes from, which its addresses alone do not prove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// A process of the node whose maps these are.
    ThisNode,
    /// Anything else.
    Elsewhere,
}

/// What the rows say of both ends.
pub(super) fn judge(rows: &Rows, packet: Packet, origin: Origin, names: &dyn Names) -> MapsVerdict {
    let judgement = judge::judge(rows, packet);
    let ingress = match (origin, judgement.ingress) {
        // The programs let the node through to its own pods before they look at rules.
        (Origin::ThisNode, Verdict::Denied(_) | Verdict::Allowed(RuleId::AUDIT)) => {
            Verdict::Allowed(RuleId::NODE)
        }
        (_, ingress) => ingress,
    };
    let answer = |verdict| match verdict {
        Verdict::Pending => MapsAnswer::Pending,
        Verdict::Denied(_) => MapsAnswer::Denied,
        Verdict::Allowed(RuleId::ELSEWHERE) => MapsAnswer::Elsewhere,
        Verdict::Allowed(RuleId::NOT_ISOLATED) => MapsAnswer::NotIsolated,
        Verdict::Allowed(RuleId::AUDIT) => MapsAnswer::Audited,
        Verdict::Allowed(RuleId::SELF | RuleId::NODE) => MapsAnswer::Always,
        Verdict::Allowed(rule) => MapsAnswer::Allowed(match names.rule(rule) {
            Some(rule) => format!("{} {}", rule.policy, rule.path),
            None => format!("rule {:#x}, whose name is not known", rule.0),
        }),
    };
    MapsVerdict { egress: answer(judgement.egress), ingress: answer(ingress) }
}

impl MapsAnswer {
    /// Whether this end lets the connection pass; `None` if this node's maps do not judge it.
    #[must_use]
    pub fn allows(&self) -> Option<bool> {
        match self {
            Self::Elsewhere => None,
            Self::Pending | Self::Denied => Some(false),
            Self::NotIsolated | Self::Audited | Self::Always | Self::Allowed(_) => Some(true),
        }
    }
}
