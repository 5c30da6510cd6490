use std::{sync::atomic::Ordering, time::SystemTime};

use prost_types::Timestamp;
use tonic::Streaming;

use super::{Fixture, client::Client, serve};
use crate::hubble::messages::{
    ChangeNotification, Empty, FlowsItem, GetAgentEventsRequest, GetAgentEventsResponse, GetFlowsRequest,
    GetFlowsResponse, LostEventSource, Notification,
};

const FLOWS: &str = "/observer.Observer/GetFlows";

async fn next(answers: &mut Streaming<GetFlowsResponse>) -> FlowsItem {
    answers.message().await.unwrap().unwrap().item.unwrap()
}

#[tokio::test]
async fn who_follows_gets_what_comes_and_is_told_what_is_missing() {
    let fixture = Fixture::new().with_records();
    let served = serve(&fixture, None);
    let mut client = Client::unix(served.socket.clone()).await;
    let request = GetFlowsRequest { follow: true, number: 1, ..GetFlowsRequest::default() };
    let mut answers = client.stream(FLOWS, request).await.unwrap();
    let FlowsItem::Flow(kept) = next(&mut answers).await else { panic!("no flow") };
    assert_eq!(kept.verdict, 1);
    fixture.add(|record| record.tcp_flags = "FIN,ACK".into());
    let FlowsItem::Flow(new) = next(&mut answers).await else { panic!("no flow") };
    assert_eq!(new.summary, "TCP Flags: FIN, ACK");
    fixture.store.miss(7);
    let FlowsItem::LostEvents(lost) = next(&mut answers).await else { panic!("nothing lost") };
    assert_eq!((lost.source, lost.num_events_lost), (LostEventSource::PerfEventRingBuffer.into(), 7));
}

#[tokio::test]
async fn following_without_a_number_begins_now_and_since_a_time_begins_then() {
    let fixture = Fixture::new().with_records();
    let served = serve(&fixture, None);
    let mut client = Client::unix(served.socket.clone()).await;
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut now = client.stream(FLOWS, request.clone()).await.unwrap();
    let since = Some(Timestamp { seconds: 1, nanos: 0 });
    let mut then = client.stream(FLOWS, GetFlowsRequest { since, ..request }).await.unwrap();
    fixture.add(|record| record.tcp_flags = "RST".into());
    let FlowsItem::Flow(flow) = next(&mut now).await else { panic!("no flow") };
    assert_eq!(flow.summary, "TCP Flags: RST");
    for expected in ["SYN", "SYN", "SYN", "SYN", "RST"] {
        let FlowsItem::Flow(flow) = next(&mut then).await else { panic!("no flow") };
        assert_eq!(flow.summary, format!("TCP Flags: {expected}"));
    }
}

#[tokio::test]
async fn following_ends_at_the_time_that_was_named() {
    let fixture = Fixture::new().with_records();
    let served = serve(&fixture, None);
    let mut client = Client::unix(served.socket.clone()).await;
    let until = Some(Timestamp::from(SystemTime::now() - std::time::Duration::from_secs(1)));
    let request = GetFlowsRequest { follow: true, number: 10, until, ..GetFlowsRequest::default() };
    let mut answers = client.stream::<_, GetFlowsResponse>(FLOWS, request).await.unwrap();
    for _ in 0..4 {
        next(&mut answers).await;
    }
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn changes_of_policy_are_agent_events() {
    let fixture = Fixture::new();
    let served = serve(&fixture, None);
    let mut client = Client::unix(served.socket.clone()).await;
    let request = GetAgentEventsRequest { follow: true, number: 1, ..GetAgentEventsRequest::default() };
    let path = "/observer.Observer/GetAgentEvents";
    let mut answers = client.stream::<_, GetAgentEventsResponse>(path, request).await.unwrap();
    answers.message().await.unwrap().unwrap();
    fixture.turn();
    fixture.epoch.store(7, Ordering::Relaxed);
    fixture.turn();
    let event = answers.message().await.unwrap().unwrap().agent_event.unwrap();
    let Some(Notification::PolicyUpdate(update)) = event.notification else { panic!("{event:?}") };
    assert_eq!(update.revision, 7);
}

#[tokio::test]
async fn peers_are_all_nodes_and_then_every_change() {
    let fixture = Fixture::new();
    let served = serve(&fixture, None);
    let mut client = Client::unix(served.socket.clone()).await;
    let mut answers = client.stream::<_, ChangeNotification>("/peer.Peer/Notify", Empty {}).await.unwrap();
    let mut next = async || {
        let change = answers.message().await.unwrap().unwrap();
        assert_eq!(change.tls, None);
        (change.name, change.address, change.r#type)
    };
    let port = served.port;
    assert_eq!(next().await, ("node-1".to_owned(), format!("192.0.2.1:{port}"), 1));
    assert_eq!(next().await, ("node-2".to_owned(), format!("[2001:db8::2]:{port}"), 1));
    fixture.nodes.lock().unwrap().remove("node-2");
    fixture.turn();
    assert_eq!(next().await, ("node-2".to_owned(), format!("[2001:db8::2]:{port}"), 2));
    fixture.nodes.lock().unwrap().insert("node-1".into(), "192.0.2.7".parse().unwrap());
    fixture.turn();
    assert_eq!(next().await, ("node-1".to_owned(), format!("192.0.2.7:{port}"), 3));
}
