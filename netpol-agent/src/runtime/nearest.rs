//! What is told of records beyond names, within bounds: a flood of drops asks the same question, and gets the same answer.

use std::{collections::HashMap, sync::Arc, time::Instant};

use netpol_common::{
    direction::Direction,
    policy::{RuleId, SlotId},
    reason::DropReason,
};

use crate::{
    engine::{Engine, Other, Refused},
    flow::{Decoded, FlowRecord, Outcome, PartyRecord},
    model::{Labels, Name},
};

/// Answers that are remembered.
const KEPT: usize = 4096;
/// New questions that are answered per second.
const PER_SECOND: u32 = 256;

/// Answers to which rule came nearest.
#[derive(Debug)]
pub(super) struct Nearest {
    answers: HashMap<Question, Option<Arc<str>>>,
    /// The epoch they are of: labels of namespaces and named ports count only with another one.
    epoch: u32,
    left: u32,
    since: Instant,
}

/// All that an answer depends on within an epoch: the slot's number stands for the rules and their pod's ports.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Question {
    slot: SlotId,
    address: std::net::IpAddr,
    pod: Option<(Arc<str>, Arc<str>, Labels)>,
    proto: u8,
    port: u16,
}

impl Nearest {
    pub(super) fn new(now: Instant) -> Self {
        Self { answers: HashMap::new(), epoch: 0, left: PER_SECOND, since: now }
    }

    /// Adds to a record what the objects say.
    pub(super) fn complete(
        &mut self,
        record: &mut FlowRecord,
        event: &Decoded,
        engine: &Engine,
        (epoch, now): (u32, Instant),
    ) {
        match event.outcome {
            Outcome::Forwarded => peers(record, event, engine),
            Outcome::Audited | Outcome::Dropped(DropReason::Policy) => {
                record.nearest = self.nearest(record, event, engine, (epoch, now));
            }
            Outcome::Dropped(_) => {}
        }
    }

    fn nearest(
        &mut self,
        record: &FlowRecord,
        event: &Decoded,
        engine: &Engine,
        (epoch, now): (u32, Instant),
    ) -> Option<Arc<str>> {
        let (initiator, responder) = ends(record)?;
        let (subject, other) = match event.direction {
            Direction::Ingress => (responder, initiator),
            Direction::Egress => (initiator, responder),
        };
        if epoch != self.epoch || self.answers.len() >= KEPT {
            self.answers.clear();
            self.epoch = epoch;
        }
        let question = Question {
            slot: event.slot,
            address: other.address,
            pod: name(other).map(|name| (name.namespace, name.name, other.labels.clone())),
            proto: event.protocol,
            port: responder.port,
        };
        if let Some(answer) = self.answers.get(&question) {
            return answer.clone();
        }
        self.take(now)?;
        let slot = engine.attribution().slot(event.slot)?;
        let answer = engine.nearest(&Refused {
            direction: event.direction,
            policies: &slot.policies,
            subject: name(subject).as_ref(),
            other: describe(other),
            proto: event.protocol,
            port: responder.port,
        });
        let answer: Option<Arc<str>> = answer.map(Into::into);
        self.answers.insert(question, answer.clone());
        answer
    }

    /// One of the answers of this second; `None` if there is none left.
    fn take(&mut self, now: Instant) -> Option<()> {
        if now.duration_since(self.since).as_secs() >= 1 {
            (self.left, self.since) = (PER_SECOND, now);
        }
        self.left = self.left.checked_sub(1)?;
        Some(())
    }
}

/// Puts to each rule that allowed the connection which of its peers did.
fn peers(record: &mut FlowRecord, event: &Decoded, engine: &Engine) {
    let Some((initiator, responder)) = ends(record) else { return };
    let found = [(event.rule_egress, responder), (event.rule_ingress, initiator)];
    let found = found.map(|(id, other): (RuleId, _)| {
        let rule = engine.attribution().rule(id)?;
        Some((rule.direction.name(), engine.peer_of(rule, describe(other))?))
    });
    for (direction, peer) in found.into_iter().flatten() {
        let of_end = record.policies.iter_mut().filter(|policy| policy.direction == direction);
        of_end.for_each(|policy| policy.peer = Some(peer.clone()));
    }
}

/// Who opens it, and who gets it.
fn ends(record: &FlowRecord) -> Option<(&PartyRecord, &PartyRecord)> {
    let responder = record.translated.as_ref().or(record.destination.as_ref());
    record.source.as_ref().zip(responder)
}

fn name(party: &PartyRecord) -> Option<Name> {
    Some(Name { namespace: party.namespace.clone()?, name: party.pod.clone()? })
}

fn describe(party: &PartyRecord) -> Other<'_> {
    let pod = party.namespace.as_deref().zip(party.pod.as_deref());
    Other { address: party.address, pod: pod.map(|(namespace, name)| (namespace, name, &party.labels)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn questions_of_a_second_are_limited() {
        let start = Instant::now();
        let mut nearest = Nearest::new(start);
        let answered = (0..2 * PER_SECOND).filter(|_| nearest.take(start).is_some()).count();
        assert_eq!(answered, PER_SECOND as usize);
        assert!(nearest.take(start + Duration::from_secs(1)).is_some());
    }
}
