use netpol_common::reason::DropReason;

use super::{identity, messages, reason};
use crate::flow::{FlowRecord, PartyRecord, Verdict};

/// A record as Hubble looks at it. Hubble's destination is who gets the packet: behind a Service, its backend.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) record: &'a FlowRecord,
    pub(super) source: Option<&'a PartyRecord>,
    pub(super) destination: Option<&'a PartyRecord>,
}

/// `type` of Hubble's `CiliumEventType`: numbers of Cilium's monitor.
pub(super) const DROP: i32 = 1;
pub(super) const POLICY_VERDICT: i32 = 5;
/// A reason of [`DROP`] events with another one's name would be worse than none.
const NO_REASON: i32 = 0;

impl<'a> View<'a> {
    pub(super) fn of(record: &'a FlowRecord) -> Self {
        let destination = record.translated.as_ref().or(record.destination.as_ref());
        Self { record, source: record.source.as_ref(), destination }
    }

    pub(super) fn verdict(&self) -> messages::Verdict {
        match self.record.verdict {
            Verdict::Forwarded => messages::Verdict::Forwarded,
            Verdict::Dropped => messages::Verdict::Dropped,
            Verdict::Audit => messages::Verdict::Audit,
        }
    }

    pub(super) fn direction(&self) -> messages::TrafficDirection {
        match self.record.direction.as_str() {
            "ingress" => messages::TrafficDirection::Ingress,
            "egress" => messages::TrafficDirection::Egress,
            _ => messages::TrafficDirection::Unknown,
        }
    }

    /// 0 if it was not dropped.
    pub(super) fn drop_reason(&self) -> i32 {
        self.record.reason.as_deref().map_or(NO_REASON, reason::of_word)
    }

    /// Policy had the last word: it opened a connection, or no rule allows it.
    pub(super) fn by_policy(&self) -> bool {
        self.record.reason.as_deref().is_none_or(|reason| reason == DropReason::Policy.name())
    }

    /// Whether it counts as an event of a type. A drop by policy is both a verdict and a drop: Cilium has two events there.
    pub(super) fn is_event(&self, event_type: i32, sub_type: Option<i32>) -> bool {
        match event_type {
            DROP => {
                self.record.verdict == Verdict::Dropped
                    && sub_type.is_none_or(|wanted| wanted == self.drop_reason())
            }
            POLICY_VERDICT => self.by_policy() && sub_type.is_none_or(|wanted| wanted == 0),
            _ => false,
        }
    }

    /// The first packet of a connection is no reply. Of other drops nobody knows.
    pub(super) fn is_reply(&self) -> Option<bool> {
        self.by_policy().then_some(false)
    }

    pub(super) fn identity(&self, party: Option<&PartyRecord>) -> u32 {
        party.map_or(0, |party| identity::of(party, &self.record.node))
    }
}
