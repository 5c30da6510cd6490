use prost_types::FieldMask;
use tonic::Code;

use super::{Fixture, client::Client, serve};
use crate::hubble::messages::{
    AgentEventType, Empty, FlowFilter, FlowsItem, GetAgentEventsRequest, GetAgentEventsResponse,
    GetFlowsRequest, GetFlowsResponse, GetNamespacesResponse, GetNodesResponse, NodeState,
    ServerStatusResponse, Verdict,
};

const FLOWS: &str = "/observer.Observer/GetFlows";

/// The lengths that were asked for, by the interface: the fixture's records differ in nothing else that Hubble shows.
async fn uuids(client: &mut Client, request: GetFlowsRequest) -> Vec<(String, i32)> {
    let mut answers = client.stream(FLOWS, request).await.unwrap();
    let mut all = Vec::new();
    while let Some(GetFlowsResponse { item: Some(FlowsItem::Flow(flow)), .. }) =
        answers.message().await.unwrap()
    {
        all.push((flow.uuid, flow.verdict));
    }
    all
}

#[tokio::test]
async fn flows_come_in_order_and_by_number_over_both_sockets() {
    let served = serve(&Fixture::new().with_records(), None);
    for mut client in [Client::unix(served.socket.clone()).await, Client::tcp(served.port).await] {
        let all = uuids(&mut client, GetFlowsRequest::default()).await;
        let verdicts: Vec<i32> = all.iter().map(|(_, verdict)| *verdict).collect();
        assert_eq!(verdicts, [2, 2, 2, 1]);
        let request = |number, first| GetFlowsRequest { number, first, ..GetFlowsRequest::default() };
        assert_eq!(uuids(&mut client, request(2, false)).await, all[2..]);
        assert_eq!(uuids(&mut client, request(2, true)).await, all[..2]);
        assert_eq!(uuids(&mut client, request(u64::MAX, false)).await, all);
        let dropped = FlowFilter { verdict: vec![Verdict::Dropped.into()], ..FlowFilter::default() };
        let white = GetFlowsRequest { whitelist: vec![dropped.clone()], ..request(2, false) };
        assert_eq!(uuids(&mut client, white).await, all[1..3]);
        let black = GetFlowsRequest { blacklist: vec![dropped], ..request(2, false) };
        assert_eq!(uuids(&mut client, black).await, all[3..]);
    }
}

#[tokio::test]
async fn a_mask_leaves_out_what_is_not_named_but_never_direction_and_policies() {
    let served = serve(&Fixture::new().with_records(), None);
    let mut client = Client::unix(served.socket.clone()).await;
    let paths = ["time", "verdict", "source.pod_name", "destination", "l4.TCP"].map(str::to_owned).to_vec();
    let request = GetFlowsRequest {
        first: true,
        number: 1,
        field_mask: Some(FieldMask { paths }),
        ..Default::default()
    };
    let mut answers = client.stream::<_, GetFlowsResponse>(FLOWS, request).await.unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.node_name, "node-1");
    let Some(FlowsItem::Flow(flow)) = answer.item else { panic!("no flow") };
    assert_eq!((flow.time.unwrap().nanos, flow.verdict), (512_000_000, 2));
    let (source, destination) = (flow.source.unwrap(), flow.destination.unwrap());
    assert_eq!(
        (source.pod_name.as_str(), source.namespace.as_str(), source.labels.len()),
        ("frontend", "", 0)
    );
    assert_eq!((destination.pod_name.as_str(), destination.namespace.as_str()), ("db-0", "shop"));
    assert!(flow.l4.is_some() && flow.ip.is_none() && flow.summary.is_empty() && flow.node_name.is_empty());
    assert_eq!((flow.traffic_direction, flow.drop_reason_desc), (1, 133));
    assert_eq!(flow.ingress_denied_by[0].name, "db-ingress");
}

#[tokio::test]
async fn the_server_tells_how_it_is_and_who_is_there() {
    let served = serve(&Fixture::new().with_records(), None);
    let mut client = Client::unix(served.socket.clone()).await;
    let status: ServerStatusResponse = client.ask("/observer.Observer/ServerStatus", Empty {}).await.unwrap();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (4, 100, 4));
    assert!(status.uptime_ns > 0 && status.version.starts_with("1.19."), "{status:?}");
    let nodes: GetNodesResponse = client.ask("/observer.Observer/GetNodes", Empty {}).await.unwrap();
    let [node] = &nodes.nodes[..] else { panic!("{nodes:?}") };
    assert_eq!((node.name.as_str(), node.state), ("node-1", i32::from(NodeState::NodeConnected)));
    assert_eq!(node.address, format!("192.0.2.1:{}", served.port));
    // The records of the fixture are older than an hour.
    let seen: GetNamespacesResponse = client.ask("/observer.Observer/GetNamespaces", Empty {}).await.unwrap();
    assert_eq!(seen.namespaces, []);
}

#[tokio::test]
async fn namespaces_are_those_of_the_last_hour() {
    let fixture = Fixture::new();
    fixture.add(|record| record.time = k8s_openapi::jiff::Timestamp::now());
    let served = serve(&fixture, None);
    let mut client = Client::tcp(served.port).await;
    let seen: GetNamespacesResponse = client.ask("/observer.Observer/GetNamespaces", Empty {}).await.unwrap();
    let names: Vec<_> = seen.namespaces.iter().map(|n| n.namespace.as_str()).collect();
    assert_eq!(names, ["shop"]);
    let status: ServerStatusResponse = client.ask("/observer.Observer/ServerStatus", Empty {}).await.unwrap();
    assert!(status.flows_rate > 0.0);
}

#[tokio::test]
async fn health_is_told_of_the_observer() {
    let served = serve(&Fixture::new(), None);
    let mut client = Client::unix(served.socket.clone()).await;
    assert_eq!(client.healthy("hubble.server.Observer").await.unwrap(), 1);
    assert_eq!(client.healthy("").await.unwrap(), 1);
    assert_eq!(client.healthy("nobody").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let served = serve(&Fixture::new(), None);
    let mut client = Client::unix(served.socket.clone()).await;
    let filter = FlowFilter { source_ip: vec!["here".to_owned()], ..FlowFilter::default() };
    let request = GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() };
    let refused = client.stream::<_, GetFlowsResponse>(FLOWS, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("source_ip"), "{refused}");
    let request = GetFlowsRequest { first: true, follow: true, ..GetFlowsRequest::default() };
    let refused = client.stream::<_, GetFlowsResponse>(FLOWS, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let unknown = client.ask::<_, Empty>("/observer.Observer/GetEverything", Empty {}).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test]
async fn agent_events_begin_with_the_start() {
    let served = serve(&Fixture::new(), None);
    let mut client = Client::unix(served.socket.clone()).await;
    let path = "/observer.Observer/GetAgentEvents";
    let request = GetAgentEventsRequest { number: 20, ..GetAgentEventsRequest::default() };
    let mut answers = client.stream::<_, GetAgentEventsResponse>(path, request).await.unwrap();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!(first.agent_event.unwrap().r#type, i32::from(AgentEventType::AgentStarted));
    assert_eq!(answers.message().await.unwrap(), None);
    let path = "/observer.Observer/GetDebugEvents";
    let request = GetAgentEventsRequest::default();
    let mut answers = client.stream::<_, GetAgentEventsResponse>(path, request).await.unwrap();
    assert_eq!(answers.message().await.unwrap(), None);
}
