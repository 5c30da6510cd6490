//! What Hubble calls agent events: that the agent has started, and that policy has changed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use futures_util::{StreamExt, stream};
use prost_types::Timestamp;
use tokio::sync::watch;
use tonic::Status;

use super::{
    messages::{
        AgentEvent, AgentEventType, GetAgentEventsRequest, GetAgentEventsResponse, Notification,
        PolicyUpdateNotification, TimeNotification,
    },
    rpc::Answers,
};

/// Events that are kept.
const KEPT: usize = 256;

/// The last events.
#[derive(Clone)]
pub(super) struct AgentEvents {
    node: Arc<str>,
    kept: Arc<Mutex<VecDeque<(SystemTime, AgentEvent)>>>,
    /// How many there have been.
    count: watch::Sender<u64>,
}

impl AgentEvents {
    /// Begins with the start of the agent, which is now.
    pub(super) fn new(node: Arc<str>) -> Self {
        let events = Self { node, kept: Arc::default(), count: watch::Sender::new(0) };
        let now = SystemTime::now();
        let notification = Notification::AgentStart(TimeNotification { time: Some(Timestamp::from(now)) });
        events.add(now, AgentEventType::AgentStarted, notification);
        events
    }

    /// Verdicts may have changed; `epoch` says how often they have.
    pub(super) fn policy_updated(&self, epoch: u32) {
        let update =
            PolicyUpdateNotification { labels: Vec::new(), revision: u64::from(epoch), rule_count: 0 };
        self.add(SystemTime::now(), AgentEventType::PolicyUpdated, Notification::PolicyUpdate(update));
    }

    fn add(&self, time: SystemTime, kind: AgentEventType, notification: Notification) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((time, AgentEvent { r#type: kind.into(), notification: Some(notification) }));
        while kept.len() > KEPT {
            kept.pop_front();
        }
        // Under the lock, so that the count and what is kept belong together.
        self.count.send_modify(|count| *count += 1);
    }

    /// The kept events from number `from` on, and the number of the next one.
    fn since(&self, from: u64) -> (Vec<(SystemTime, AgentEvent)>, u64) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let next = *self.count.borrow();
        let new = usize::try_from(next.saturating_sub(from)).unwrap_or(usize::MAX);
        (kept.iter().skip(kept.len().saturating_sub(new)).cloned().collect(), next)
    }

    /// Answers GetAgentEvents.
    pub(super) fn answer(
        &self,
        request: &GetAgentEventsRequest,
        (since, until): (Option<SystemTime>, Option<SystemTime>),
    ) -> Result<Answers<GetAgentEventsResponse>, Status> {
        let (all, next) = self.since(0);
        let wanted = move |time: SystemTime| {
            since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until)
        };
        let mut first: Vec<_> = all.into_iter().filter(|(time, _)| wanted(*time)).collect();
        let number = usize::try_from(request.number).unwrap_or(usize::MAX);
        match (number, request.first) {
            (0, _) if request.follow && since.is_none() => first.clear(),
            (0, _) => {}
            (number, true) => first.truncate(number),
            (number, false) => drop(first.drain(..first.len().saturating_sub(number))),
        }
        let node = self.node.clone();
        let response = move |(time, event): (SystemTime, AgentEvent)| {
            Ok(GetAgentEventsResponse {
                agent_event: Some(event),
                node_name: node.to_string(),
                time: Some(Timestamp::from(time)),
            })
        };
        let first = stream::iter(first);
        if !request.follow {
            return Ok(first.map(response).boxed());
        }
        let state = (self.clone(), self.count.subscribe(), next);
        let later = stream::unfold(state, |(events, mut count, next)| async move {
            count.wait_for(|count| *count > next).await.ok()?;
            let (new, next) = events.since(next);
            Some((stream::iter(new), (events, count, next)))
        });
        let later = later.flatten().filter(move |(time, _)| std::future::ready(wanted(*time)));
        Ok(first.chain(later).map(response).boxed())
    }
}
