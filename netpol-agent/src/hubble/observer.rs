//! The Observer service: flows, and how their store is doing.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use k8s_openapi::jiff::{self, SignedDuration};
use prost_types::Timestamp;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, body::Body};

use super::{
    Cluster, Hubble,
    filter::Asked,
    map,
    mask::Mask,
    messages::{
        Empty, FlowsItem, GetAgentEventsRequest, GetAgentEventsResponse, GetFlowsRequest, GetFlowsResponse,
        GetNamespacesResponse, GetNodesResponse, LostEvent, LostEventSource, Namespace, Node, NodeState,
        NodeTls, ServerStatusResponse,
    },
    peers::server_name,
    rpc::{self, Answers, Calls},
};
use crate::flow::{FlowRecord, Followed, Follower, Wanted};

/// A namespace counts as seen for so long.
const NAMESPACES_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// The rate of flows is that of this last while.
const RATE_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// `observer.Observer`
pub(super) struct Observer<C>(pub(super) Arc<Hubble<C>>);

impl<C: Cluster> Calls for Observer<C> {
    const NAME: &'static str = "observer.Observer";

    async fn call(self: Arc<Self>, request: http::Request<Body>) -> http::Response<Body> {
        let hubble = self.0.clone();
        match request.uri().path() {
            "/observer.Observer/GetFlows" => {
                rpc::streaming(request, move |asked| flows(&hubble, asked)).await
            }
            "/observer.Observer/GetAgentEvents" => {
                rpc::streaming(request, move |asked: GetAgentEventsRequest| {
                    let span = span(asked.since, asked.until)?;
                    not_both(asked.first, asked.follow)?;
                    hubble.events.answer(&asked, span)
                })
                .await
            }
            // Nothing that Cilium's datapath would debug is here.
            "/observer.Observer/GetDebugEvents" => {
                rpc::streaming(request, |_: GetAgentEventsRequest| {
                    Ok(stream::empty::<Result<GetAgentEventsResponse, _>>().boxed())
                })
                .await
            }
            "/observer.Observer/GetNodes" => {
                rpc::unary(request, move |_: Empty| async move { Ok(nodes(&hubble)) }).await
            }
            "/observer.Observer/GetNamespaces" => {
                rpc::unary(request, move |_: Empty| async move { Ok(namespaces(&hubble)) }).await
            }
            "/observer.Observer/ServerStatus" => {
                rpc::unary(request, move |_: Empty| async move { Ok(status(&hubble)) }).await
            }
            other => rpc::unknown(other),
        }
    }
}

fn flows<C: Cluster>(
    hubble: &Hubble<C>,
    request: GetFlowsRequest,
) -> Result<Answers<GetFlowsResponse>, Status> {
    let GetFlowsRequest { number, follow, blacklist, whitelist, since, until, first, field_mask } = request;
    not_both(first, follow)?;
    let (since, until) = span(since, until)?;
    let asked = Asked::new(&whitelist, &blacklist)
        .and_then(|asked| asked.within(since, until))
        .map_err(|error| Status::invalid_argument(format!("invalid filter: {error}")))?;
    let mask = Mask::new(field_mask);
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let store = hubble.cluster.store();
    if !follow {
        let number = if number == 0 { usize::MAX } else { number };
        let records = if first { store.earliest(&asked, number) } else { store.recent(&asked, number) };
        return Ok(stream::iter(records).map(move |record| Ok(response(&record, &mask))).boxed());
    }
    let last = if number == 0 && since.is_some() { usize::MAX } else { number };
    let following = Following {
        follower: store.follow(asked, last),
        node: hubble.cluster.name().clone(),
        mask,
        // What lies behind it at once ends at once, after what is kept.
        end: until
            .map(|until| Instant::now() + until.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO)),
    };
    Ok(stream::unfold(following, |mut following| async move {
        following.next().await.map(|response| (Ok(response), following))
    })
    .boxed())
}

struct Following {
    follower: Follower,
    node: Arc<str>,
    mask: Mask,
    end: Option<Instant>,
}

impl Following {
    async fn next(&mut self) -> Option<GetFlowsResponse> {
        let followed = match self.end {
            None => self.follower.next().await,
            Some(end) => tokio::select! {
                biased;
                followed = self.follower.next() => followed,
                () = sleep_until(end) => None,
            },
        };
        Some(match followed? {
            Followed::Record(record) => response(&record, &self.mask),
            Followed::Lost(count) => self.lost(LostEventSource::HubbleRingBuffer, count),
            Followed::Missed(count) => self.lost(LostEventSource::PerfEventRingBuffer, count),
        })
    }

    fn lost(&self, source: LostEventSource, count: u64) -> GetFlowsResponse {
        GetFlowsResponse {
            item: Some(FlowsItem::LostEvents(LostEvent { source: source.into(), num_events_lost: count })),
            node_name: self.node.to_string(),
            time: Some(Timestamp::from(SystemTime::now())),
        }
    }
}

fn response(record: &FlowRecord, mask: &Mask) -> GetFlowsResponse {
    GetFlowsResponse {
        item: Some(FlowsItem::Flow(Box::new(mask.apply(map::flow(record))))),
        node_name: record.node.to_string(),
        time: Some(map::time(record)),
    }
}

/// The earliest ones cannot be followed.
fn not_both(first: bool, follow: bool) -> Result<(), Status> {
    if first && follow {
        return Err(Status::invalid_argument("first cannot be specified with follow"));
    }
    Ok(())
}

type Span = (Option<SystemTime>, Option<SystemTime>);

fn span(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<Span, Status> {
    let time = |field: &str, time: Option<Timestamp>| {
        time.map(SystemTime::try_from)
            .transpose()
            .map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
    };
    Ok((time("since", since)?, time("until", until)?))
}

/// Wants what is not older than so long.
struct Within(jiff::Timestamp);

impl Within {
    fn last(span: SignedDuration) -> Self {
        Self(jiff::Timestamp::now().checked_sub(span).unwrap_or(jiff::Timestamp::MIN))
    }
}

impl Wanted for Within {
    fn wants(&self, record: &FlowRecord) -> bool {
        record.time >= self.0
    }
    fn wants_forwarded(&self) -> bool {
        false
    }
}

fn namespaces<C: Cluster>(hubble: &Hubble<C>) -> GetNamespacesResponse {
    let recent = hubble.cluster.store().recent(&Within::last(NAMESPACES_WITHIN), usize::MAX);
    let ends = recent.iter().flat_map(|record| [&record.source, &record.destination, &record.translated]);
    let seen: BTreeSet<_> = ends.flatten().filter_map(|party| party.namespace.as_deref()).collect();
    let namespace = |name: &str| Namespace { cluster: String::new(), namespace: name.to_owned() };
    GetNamespacesResponse { namespaces: seen.into_iter().map(namespace).collect() }
}

fn status<C: Cluster>(hubble: &Hubble<C>) -> ServerStatusResponse {
    let store = hubble.cluster.store();
    let counts = store.counts();
    let recent = store.recent(&Within::last(RATE_WITHIN), usize::MAX).len();
    ServerStatusResponse {
        num_flows: counts.kept as u64,
        max_flows: counts.capacity as u64,
        seen_flows: counts.seen,
        uptime_ns: hubble.uptime_ns(),
        num_connected_nodes: Some(1),
        num_unavailable_nodes: Some(0),
        version: rpc::VERSION.to_owned(),
        flows_rate: recent as f64 / RATE_WITHIN.as_secs_f64(),
    }
}

/// This node alone: Relay puts those of all nodes together.
fn nodes<C: Cluster>(hubble: &Hubble<C>) -> GetNodesResponse {
    let counts = hubble.cluster.store().counts();
    let name = hubble.cluster.name().to_string();
    let tls = NodeTls {
        enabled: hubble.reach.tls,
        server_name: if hubble.reach.tls { server_name(&name) } else { String::new() },
    };
    let node = Node {
        name,
        version: rpc::VERSION.to_owned(),
        address: hubble.reach.own(&hubble.cluster),
        state: NodeState::NodeConnected.into(),
        tls: Some(tls),
        uptime_ns: hubble.uptime_ns(),
        num_flows: counts.kept as u64,
        max_flows: counts.capacity as u64,
        seen_flows: counts.seen,
    };
    GetNodesResponse { nodes: vec![node] }
}
