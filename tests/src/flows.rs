//! The flow records of a bed's agents, followed over their control sockets.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use netpol_agent::{
    ctl::{
        Client, ClientError,
        api::{EndpointView, FlowsRequest, Request, Response, Status},
    },
    flow::{Filter, FlowRecord},
};

use crate::{bed::Agent, probe::Protocol};

/// Collects the records of all agents from now on, as long as each runs.
#[derive(Clone, Debug, Default)]
pub struct FlowLog {
    /// When each record came, and the record.
    records: Arc<Mutex<Vec<(Instant, FlowRecord)>>>,
}

/// What a record is looked up by.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Protocol of the probe.
    pub protocol: Protocol,
    /// The connection's own end; for ICMP the port is the identifier.
    pub source: SocketAddr,
    /// Where the probe went, before any translation.
    pub target: SocketAddr,
    /// Whether that was a Service's address: beyond the client's node the backend's one is all that is known.
    pub translated: bool,
    /// Records that came before this are of other tries.
    pub since: Instant,
}

impl FlowLog {
    /// Starts to follow.
    ///
    /// # Errors
    /// If an agent does not answer.
    pub fn follow(agents: &[Agent]) -> Result<Self> {
        let log = Self::default();
        agents.iter().try_for_each(|agent| log.follow_also(agent))?;
        Ok(log)
    }

    /// Starts to follow one more agent.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn follow_also(&self, agent: &Agent) -> Result<()> {
        let mut client = Client::connect(&agent.socket)?;
        let everything = FlowsRequest { filter: Filter::default(), last: 0, follow: true };
        client.send(&Request::Flows(everything))?;
        let (log, node) = (self.clone(), agent.node.clone());
        let follow = move || {
            if let Err(e) = log.collect(&mut client, &node) {
                tracing::debug!("flow records of {node}: {e:#}");
            }
        };
        thread::Builder::new().name("flows".to_owned()).spawn(follow)?;
        Ok(())
    }

    /// Until the agent ends.
    fn collect(&self, client: &mut Client, node: &str) -> Result<(), ClientError> {
        loop {
            match client.receive()? {
                Response::Flow(record) => {
                    self.records
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((Instant::now(), *record));
                }
                Response::Lost(count) | Response::Missed(count) => {
                    eprintln!("{count} flow records of {node} are lost");
                }
                _ => return Err(ClientError::OtherAnswer(node.into())),
            }
        }
    }

    /// The records since a moment that are as asked for.
    #[must_use]
    pub fn since(&self, since: Instant, wanted: impl Fn(&FlowRecord) -> bool) -> Vec<FlowRecord> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let later = records.iter().filter(|(at, _)| *at >= since).map(|(_, record)| record);
        later.filter(|record| wanted(record)).cloned().collect()
    }

    /// The records of a try.
    #[must_use]
    pub fn of(&self, wanted: &Wanted) -> Vec<FlowRecord> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records
            .iter()
            .filter(|(at, r)| *at >= wanted.since && matches(r, wanted))
            .map(|(_, r)| r.clone())
            .collect()
    }
}

/// Asks an agent how it is doing.
///
/// # Errors
/// If it does not answer.
pub fn status(agent: &Agent) -> Result<Status> {
    let mut client = Client::connect(&agent.socket)?;
    let status = client.ask(&Request::Status, |response| match response {
        Response::Status(status) => Some(*status),
        _ => None,
    });
    status.with_context(|| format!("status of {}", agent.node))
}

/// Asks an agent for the pods of its node, and for interfaces without a pod.
///
/// # Errors
/// If it does not answer.
pub fn endpoints(agent: &Agent) -> Result<Vec<EndpointView>> {
    let mut client = Client::connect(&agent.socket)?;
    let endpoints = client.ask(&Request::Endpoints, |response| match response {
        Response::Endpoints(endpoints) => Some(endpoints),
        _ => None,
    });
    endpoints.with_context(|| format!("endpoints of {}", agent.node))
}

/// The agent's numbers, as `netpolctl metrics` has them.
///
/// # Errors
/// If it does not answer.
pub fn metrics(agent: &Agent) -> Result<String> {
    let mut client = Client::connect(&agent.socket)?;
    let metrics = client.ask(&Request::Metrics, |response| match response {
        Response::Metrics(text) => Some(text),
        _ => None,
    });
    metrics.with_context(|| format!("metrics of {}", agent.node))
}

fn matches(record: &FlowRecord, wanted: &Wanted) -> bool {
    let Wanted { protocol, source, target, translated, .. } = wanted;
    let (Some(from), Some(to)) = (&record.source, &record.destination) else { return false };
    // Echoes have no ports; a pod has one probe at a time under way to the same address.
    let with_ports = is_recorded_with_ports(*protocol);
    let same_source = from.address == source.ip() && (!with_ports || from.port == source.port());
    let same_target = to.address == target.ip() && (!with_ports || to.port == target.port());
    let name = match protocol {
        Protocol::UdpLite => "136",
        Protocol::Gre => "47",
        Protocol::Esp => "50",
        Protocol::UdpOptions => "udp",
        Protocol::Http => "tcp",
        Protocol::Tcp | Protocol::Udp | Protocol::Icmp | Protocol::Sctp => protocol.name(),
    };
    record.protocol.to_lowercase().starts_with(name) && same_source && (same_target || *translated)
}

/// UDP-Lite has ports, but policies know of none there.
fn is_recorded_with_ports(protocol: Protocol) -> bool {
    protocol.has_ports() && protocol != Protocol::UdpLite
}
