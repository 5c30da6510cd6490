//! Who talks to whom, counted from the records that are kept.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Json, extract::State as Shared};
use hyper::StatusCode;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::{
    Desk,
    answer::Refusal,
    query::{Fields, Wanted, one},
};
use crate::{
    ctl::State,
    flow::{FlowRecord, Kind, PartyRecord, PolicyRecord, Verdict},
    model::Name,
};

/// A scanner tries every port: so many are listed.
const MAX_PORTS: usize = 8;
/// What more edges there are is left off, the best and oldest first: nobody would see anything in the map.
const MAX_EDGES: usize = 300;

/// What one receiver counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// The Service that was asked, where one was; else as `Workload`.
    Service,
    /// What made the pod that it went to.
    Workload,
}

/// Somebody who sends or receives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub(super) struct Node {
    /// `Deployment` and the like, `Pod` without a controller, `Service`, `Node`, or `Outside`: all addresses that nobody in the cluster
    /// has; `Unread` if the packet's addresses were not read.
    kind: String,
    namespace: Arc<str>,
    name: Arc<str>,
}

/// What went from one to another. Indexes are those of [`Graph::nodes`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Edge {
    from: usize,
    to: usize,
    /// Connections that were opened.
    forwarded: u64,
    /// The same, which policy would have denied.
    audit: u64,
    /// Packets that were dropped.
    dropped: u64,
    /// `TCP 5432`, as the receiver has them; the first few.
    ports: BTreeSet<String>,
    /// The Services that were asked.
    services: BTreeSet<Name>,
    /// Who decided, at either end.
    policies: BTreeSet<PolicyRecord>,
    /// Why packets were dropped.
    reasons: BTreeSet<String>,
    /// When the last record was made.
    last: Timestamp,
}

/// Who talks to whom.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// So many edges more are not in it.
    left_off: usize,
}

/// The map of the records that are wanted: filters as for flows, and `by=workload` or `by=service`.
pub(super) async fn graph<S: State>(
    Shared(desk): Shared<Desk<S>>,
    fields: Fields,
) -> Result<Json<Graph>, Refusal> {
    let by = match one(&fields, "by") {
        "" | "workload" => By::Workload,
        "service" => By::Service,
        other => {
            let words = format!("by: {other:?} is not workload or service");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, words));
        }
    };
    let fields: Vec<_> = fields.0.into_iter().filter(|(field, _)| field != "by" && field != "last").collect();
    let Wanted { filter, last: _ } = Wanted::read(&fields, Timestamp::now())?;
    Ok(Json(Graph::of(&desk.state.flows().recent(&filter, usize::MAX), by)))
}

impl Graph {
    /// Of these records, oldest first.
    pub(super) fn of(records: &[Arc<FlowRecord>], by: By) -> Self {
        let mut edges: BTreeMap<(Node, Node), Edge> = BTreeMap::new();
        for record in records {
            let receiver = record.translated.as_ref().or(record.destination.as_ref());
            let asked = record.destination.as_ref().and_then(|end| end.service.as_ref());
            let to = match (by, asked) {
                (By::Service, Some(service)) => Node::named("Service", service),
                _ => Node::of(receiver),
            };
            let from = match (&record.source, &record.endpoint) {
                // Of a pod that was too loud to tell its packets apart.
                (None, Some(pod)) => Node::named("Pod", pod),
                (source, _) => Node::of(source.as_ref()),
            };
            edges.entry((from, to)).or_default().count(record, receiver, asked);
        }
        let left_off = edges.len().saturating_sub(MAX_EDGES);
        let mut edges: Vec<_> = edges.into_iter().collect();
        if left_off > 0 {
            edges.sort_by_key(|(_, edge)| Reverse((edge.dropped > 0, edge.audit > 0, edge.last)));
            edges.truncate(MAX_EDGES);
        }
        let nodes: BTreeSet<&Node> = edges.iter().flat_map(|((from, to), _)| [from, to]).collect();
        let nodes: Vec<Node> = nodes.into_iter().cloned().collect();
        let at = |node: &Node| nodes.binary_search(node).unwrap_or_else(|place| place);
        let numbered =
            |((from, to), edge): &((Node, Node), Edge)| Edge { from: at(from), to: at(to), ..edge.clone() };
        let mut edges: Vec<Edge> = edges.iter().map(numbered).collect();
        edges.sort_by_key(|edge| (edge.from, edge.to));
        Self { nodes, edges, left_off }
    }
}

impl Edge {
    fn count(&mut self, record: &FlowRecord, receiver: Option<&PartyRecord>, asked: Option<&Name>) {
        match (record.verdict, record.kind) {
            (Verdict::Dropped, _) => self.dropped += record.suppressed.max(1),
            (Verdict::Forwarded, Kind::Opened) => self.forwarded += 1,
            (Verdict::Audit, Kind::Opened | Kind::Packet) => self.audit += 1,
            // What was opened before has been counted then.
            (_, Kind::Heartbeat | Kind::Closed | Kind::Packet) => {}
        }
        if let Some(end) = receiver.filter(|end| end.port != 0)
            && self.ports.len() < MAX_PORTS
        {
            self.ports.insert(format!("{} {}", record.protocol, end.port));
        }
        self.services.extend(asked.cloned());
        self.policies.extend(record.policies.iter().cloned());
        self.reasons.extend(record.reason.clone());
        self.last = self.last.max(record.time);
    }
}

impl Node {
    fn named(kind: &str, name: &Name) -> Self {
        Self { kind: kind.to_owned(), namespace: name.namespace.clone(), name: name.name.clone() }
    }

    fn bare(kind: &str, name: &Arc<str>) -> Self {
        Self { kind: kind.to_owned(), namespace: "".into(), name: name.clone() }
    }

    fn of(end: Option<&PartyRecord>) -> Self {
        let Some(end) = end else { return Self::bare("Unread", &"unread".into()) };
        match (&end.namespace, &end.pod, &end.service, &end.node) {
            (Some(namespace), Some(pod), ..) => match &end.workload {
                Some(workload) => Self::named(&workload.kind, &Name::new(namespace, &workload.name)),
                None => Self::named("Pod", &Name::new(namespace, pod)),
            },
            (_, _, Some(service), _) => Self::named("Service", service),
            (_, _, _, Some(node)) => Self::bare("Node", node),
            _ => Self::bare("Outside", &"outside".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flow::tests_support::sample, model::Workload};

    fn opened(verdict: Verdict) -> FlowRecord {
        let mut record = FlowRecord { kind: Kind::Opened, verdict, reason: None, ..sample() };
        record.translated = record.destination.clone();
        let backend = record.translated.as_mut().unwrap();
        backend.workload = Some(Workload { kind: "StatefulSet".into(), name: "db".into() }.into());
        let asked = record.destination.as_mut().unwrap();
        (asked.namespace, asked.pod, asked.port) = (None, None, 80);
        asked.service = Some(Name::new("shop", "db"));
        record
    }

    #[test]
    fn connections_and_drops_are_counted_per_pair_of_workloads_or_services() {
        let drop = FlowRecord { suppressed: 7, translated: opened(Verdict::Audit).translated, ..sample() };
        let closed = FlowRecord { kind: Kind::Closed, ..opened(Verdict::Forwarded) };
        let records = [opened(Verdict::Forwarded), opened(Verdict::Audit), sample(), drop, closed];
        let records = records.map(Arc::new);
        let graph = Graph::of(&records, By::Workload);
        let names: Vec<_> = graph.nodes.iter().map(|node| format!("{} {}", node.kind, node.name)).collect();
        assert_eq!(names, ["Pod db-0", "Pod frontend", "StatefulSet db"]);
        let counts = |edge: &Edge| (edge.from, edge.to, edge.forwarded, edge.audit, edge.dropped);
        assert_eq!(graph.edges.iter().map(counts).collect::<Vec<_>>(), [(1, 0, 0, 0, 1), (1, 2, 1, 1, 7)]);
        assert_eq!(graph.edges[1].ports, ["TCP 5432".to_owned()].into());
        assert_eq!(graph.edges[1].services, [Name::new("shop", "db")].into());
        assert_eq!(graph.edges[0].reasons, ["policy".to_owned()].into());
        let graph = Graph::of(&records, By::Service);
        assert!(graph.nodes.iter().any(|node| node.kind == "Service" && &*node.name == "db"), "{graph:?}");
    }

    #[test]
    fn who_is_nobody_in_the_cluster_is_outside_and_a_scanners_ports_come_to_an_end() {
        let scan = |port: u16| {
            let mut record = sample();
            record.source = Some(PartyRecord::unknown([192, 0, 2, (port % 9) as u8].into(), 4000));
            record.destination.as_mut().unwrap().port = port;
            Arc::new(record)
        };
        let records: Vec<_> = (1..100).map(scan).collect();
        let graph = Graph::of(&records, By::Workload);
        assert_eq!((graph.nodes.len(), graph.edges.len()), (2, 1), "{graph:?}");
        assert_eq!((graph.edges[0].dropped, graph.edges[0].ports.len()), (99, MAX_PORTS));
        assert!(graph.nodes.iter().any(|node| node.kind == "Outside"));
    }

    #[test]
    fn of_too_many_edges_those_with_drops_stay() {
        let from = |port: u16, verdict| {
            let mut record = FlowRecord { verdict, kind: Kind::Opened, ..sample() };
            record.source.as_mut().unwrap().pod = Some(format!("p{port}").into());
            Arc::new(record)
        };
        let mut records: Vec<_> = (0..400).map(|port| from(port, Verdict::Forwarded)).collect();
        records.insert(0, from(400, Verdict::Dropped));
        let graph = Graph::of(&records, By::Workload);
        assert_eq!((graph.edges.len(), graph.nodes.len(), graph.left_off), (MAX_EDGES, MAX_EDGES + 1, 101));
        assert_eq!(graph.edges.iter().filter(|edge| edge.dropped > 0).count(), 1);
    }

    #[test]
    fn a_packet_that_was_not_read_belongs_to_its_pod() {
        let record = FlowRecord { source: None, destination: None, ..sample() };
        let graph = Graph::of(&[Arc::new(record)], By::Workload);
        let names: Vec<_> = graph.nodes.iter().map(|node| format!("{} {}", node.kind, node.name)).collect();
        assert_eq!(names, ["Pod db-0", "Unread unread"]);
    }
}
