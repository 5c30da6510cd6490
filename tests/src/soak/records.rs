//! What the agent tells of, as somebody who follows all of it hears it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, bail};
use netpol_agent::{
    ctl::{
        Client, ClientError,
        api::{FlowsRequest, Request, Response},
    },
    flow::{Filter, FlowRecord, Kind, Verdict},
};

use super::{NAMESPACE, load::PORT};
use crate::bed::Agent;

/// What was heard so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Heard {
    /// Connections that were opened.
    pub(super) opened: u64,
    /// Connections that have ended.
    pub(super) closed: u64,
    /// Packets that were denied, each told of with a record.
    pub(super) singly: u64,
    /// Packets that were denied, told of with a record for several.
    pub(super) summed: u64,
    /// Records that were lost on their way here.
    pub(super) lost: u64,
    /// Records that the agent was too slow for.
    pub(super) missed: u64,
    /// Records of anything else.
    pub(super) others: u64,
}

/// Follows an agent.
pub(super) struct Records {
    heard: Arc<Mutex<Heard>>,
    thread: JoinHandle<Result<()>>,
}

impl Records {
    /// From now on.
    pub(super) fn follow(agent: &Agent) -> Result<Self> {
        let mut client = Client::connect(&agent.socket)?;
        let all = FlowsRequest { filter: Filter::default(), last: 0, follow: true };
        client.send(&Request::Flows(all))?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let sum = heard.clone();
        let thread = thread::Builder::new().name("records".to_owned()).spawn(move || {
            loop {
                let response = match client.receive() {
                    Ok(response) => response,
                    Err(ClientError::HungUp(_)) => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                let mut heard = sum.lock().unwrap_or_else(PoisonError::into_inner);
                match response {
                    Response::Flow(record) => heard.add(&record),
                    Response::Lost(count) => heard.lost += count,
                    Response::Missed(count) => heard.missed += count,
                    Response::End => return Ok(()),
                    other => bail!("not a record: {other:?}"),
                }
            }
        })?;
        Ok(Self { heard, thread })
    }

    pub(super) fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was heard until the agent ended.
    pub(super) fn finish(self) -> Result<Heard> {
        let ended = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ended.context("following the flow records")?;
        Ok(*self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Heard {
    fn add(&mut self, record: &FlowRecord) {
        let ours = match (&record.source, &record.destination) {
            (Some(from), Some(to)) => from.namespace.as_deref() == Some(NAMESPACE) && to.port == PORT,
            // Of a pod that was too loud to tell its packets apart.
            _ => record.endpoint.as_ref().is_some_and(|pod| *pod.namespace == *NAMESPACE),
        };
        let by_policy = record.reason.as_deref() == Some("policy") || record.source.is_none();
        let count = match (record.kind, record.verdict) {
            (Kind::Opened, Verdict::Forwarded) => &mut self.opened,
            (Kind::Closed, Verdict::Forwarded) => &mut self.closed,
            (Kind::Packet, Verdict::Dropped) if by_policy && record.suppressed > 0 => &mut self.summed,
            (Kind::Packet, Verdict::Dropped) if by_policy => &mut self.singly,
            _ => &mut self.others,
        };
        *(if ours { count } else { &mut self.others }) += record.suppressed.max(1);
    }
}
