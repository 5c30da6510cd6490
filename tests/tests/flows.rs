//! What real packets leave behind: records with their reasons, in the control socket, a file, Hubble's API and metrics.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use netpol_agent::{
    ctl::{
        Client, ClientError,
        api::{FlowsRequest, ManifestFile, Request, Response, SimulateRequest, Simulated, SuggestRequest},
    },
    flow::{Filter, FlowRecord, Kind},
    history::Outcome,
    hubble::messages::{Flow, FlowFilter, FlowsItem, GetFlowsRequest, GetFlowsResponse},
};
use netpol_tests::{
    bed::{Agent, AgentOptions, Bed, ClusterSpec, Family, Place},
    eventually,
    flows::{self, FlowLog},
    probe::{Cell, Protocol},
};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tonic::{client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

const PATIENCE: Duration = Duration::from_secs(30);
const NEAREST: &str = "t/db spec.ingress[1]: TCP 80 is allowed from app=web; app=stranger is not it";

fn pod(name: &str, owner: &str, of: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "t", "labels": {"app": name, "pod-template-hash": "7d9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner, "name": of, "uid": "u", "controller": true}],
        },
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]},
    })
}

fn objects() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}),
        pod("db", "StatefulSet", "db"),
        pod("web", "ReplicaSet", "web-7d9"),
        pod("stranger", "ReplicaSet", "stranger-7d9"),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "db", "namespace": "t", "generation": 4},
            "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}], "ports": [{"port": 81}]},
                {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]},
            ]},
        }),
    ]
}

fn kept(agent: &Agent, tests: &[&str]) -> Vec<FlowRecord> {
    let only = tests.iter().map(|test| test.parse().unwrap()).collect();
    let filter = Filter { only, ..Filter::default() };
    let mut client = Client::connect(&agent.socket).unwrap();
    client.send(&Request::Flows(FlowsRequest { filter, last: 10, follow: false })).unwrap();
    let mut records = Vec::new();
    while let Response::Flow(record) = client.receive().unwrap() {
        records.push(*record);
    }
    records
}

fn cell(from: &str) -> Cell {
    Cell {
        from: Place::Pod(format!("t/{from}")),
        to: "t/db".to_owned(),
        protocol: Protocol::Tcp,
        port: 80,
        family: Family::V6,
    }
}

/// The policies that an agent suggests, none as long as it has seen nothing.
fn suggested(agent: &Agent) -> Vec<Value> {
    let mut client = Client::connect(&agent.socket).unwrap();
    client.send(&Request::Suggest(SuggestRequest { namespace: "t".to_owned(), since: None })).unwrap();
    match client.receive() {
        Ok(Response::Suggested(answer)) => {
            answer.suggestion.policies.iter().map(|policy| serde_json::to_value(policy).unwrap()).collect()
        }
        Err(ClientError::Refused(why)) if why.starts_with("nothing was seen") => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn simulated(agent: &Agent, policy: &Value) -> Simulated {
    let file = ManifestFile { path: "new.json".to_owned(), text: policy.to_string() };
    let request = SimulateRequest { files: vec![file], ..SimulateRequest::default() };
    let mut client = Client::connect(&agent.socket).unwrap();
    let answer = |response| if let Response::Simulated(answer) = response { Some(*answer) } else { None };
    client.ask(&Request::Simulate(request), answer).unwrap()
}

/// The flows that a client of Hubble's is given.
fn observe(bed: &Bed, socket: PathBuf, filter: FlowFilter) -> Vec<Flow> {
    bed.runtime().block_on(async {
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://hubble").connect_with_connector(connector).await.unwrap();
        let mut client = Grpc::new(channel);
        client.ready().await.unwrap();
        let request = GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() };
        let codec = ProstCodec::<GetFlowsRequest, GetFlowsResponse>::default();
        let path = "/observer.Observer/GetFlows".parse().unwrap();
        let answers = client.server_streaming(tonic::Request::new(request), path, codec).await.unwrap();
        let mut answers = answers.into_inner();
        let mut flows = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            if let Some(FlowsItem::Flow(flow)) = answer.item {
                flows.push(*flow);
            }
        }
        flows
    })
}

fn in_file(path: &Path) -> Vec<FlowRecord> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_drop_says_what_would_have_been_allowed_and_a_connection_by_what_it_was() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let (hubble, file) = (bed.folder().join("hubble.sock"), bed.folder().join("flows.json"));
    let arguments = [
        ("--hubble-socket", hubble.to_str().unwrap()),
        ("--flow-file", file.to_str().unwrap()),
        ("--flow-metrics", "policy"),
        ("--ct-timeout", "tcp-closed=1s"),
    ];
    let arguments = arguments.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]);
    let arguments = arguments.collect();
    bed.start_agent("node1", &AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    bed.apply(&objects()).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    let log = FlowLog::follow(bed.agents()).unwrap();
    let begun = Instant::now();
    let wrong = bed.settle(&[(cell("web"), true), (cell("stranger"), false)], PATIENCE).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");

    let agent = &bed.agents()[0];
    let dropped = ["reason=policy", "from-pod=t/stranger", "label=app=db", "workload=Deployment/stranger"];
    eventually(PATIENCE, "the drop is kept", || !kept(agent, &dropped).is_empty());
    let record = kept(agent, &dropped).remove(0);
    assert_eq!(record.nearest.as_deref(), Some(NEAREST));
    let workload = record.destination.as_ref().unwrap().workload.as_ref().unwrap();
    assert_eq!((workload.kind.as_str(), workload.name.as_str()), ("StatefulSet", "db"));
    let [policy] = &record.policies[..] else { panic!("{record:?}") };
    assert_eq!((&*policy.name, policy.generation, policy.direction.as_str()), ("db", 4, "ingress"));

    let opened = |record: &FlowRecord| {
        record.policies.iter().any(|policy| policy.peer.as_deref() == Some("spec.ingress[1].from[0]"))
    };
    eventually(PATIENCE, "the connection names its peer", || !log.since(begun, opened).is_empty());

    let closed = |record: &FlowRecord| {
        let is_web = record.source.as_ref().is_some_and(|end| end.pod.as_deref() == Some("web"));
        let both_ways = record.traffic.is_some_and(|t| t.packets_sent >= 3 && t.packets_received >= 2);
        record.kind == Kind::Closed
            && is_web
            && both_ways
            && record.first.is_some_and(|first| first <= record.time)
    };
    eventually(PATIENCE, "its end tells what went over it", || !log.since(begun, closed).is_empty());

    // Only drops are exported unless more is asked for.
    eventually(PATIENCE, "the drop is in the file", || in_file(&file).contains(&record));
    assert!(in_file(&file).iter().all(|record| record.reason.is_some()));

    let filter = FlowFilter {
        source_pod: vec!["t/stranger".to_owned()],
        destination_label: vec!["app=db".to_owned()],
        verdict: vec![2],
        ..FlowFilter::default()
    };
    let flow = observe(&bed, hubble, filter).remove(0);
    assert_eq!(flow.ingress_denied_by[0].name, "db");
    assert_eq!(flow.ingress_denied_by[0].revision, 4);
    assert!(flow.policy_log.contains(&format!("nearest: {NEAREST}")), "{flow:?}");

    let series = "netpol_policy_drops_total{direction=\"ingress\",namespace=\"t\",policy=\"db\"} ";
    eventually(PATIENCE, "the drop is counted", || flows::metrics(agent).unwrap().contains(series));
}

#[test]
fn what_pods_did_survives_the_agent_and_becomes_policies() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let store = bed.folder().join("store");
    let arguments = vec!["--flow-store".to_owned(), store.to_str().unwrap().to_owned()];
    let options = AgentOptions { arguments, ..AgentOptions::default() };
    bed.start_agent("node1", &options).unwrap();
    let (policies, others): (Vec<_>, Vec<_>) =
        objects().into_iter().partition(|object| object["kind"] == "NetworkPolicy");
    bed.apply(&others).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    assert!(bed.settle(&[(cell("web"), true)], PATIENCE).unwrap().is_empty());
    eventually(PATIENCE, "the connection is known", || !suggested(&bed.agents()[0]).is_empty());

    // A new agent knows what the one before saw.
    bed.take_agent("node1").unwrap().stop().unwrap();
    bed.start_agent("node1", &options).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    let agent = &bed.agents()[0];
    let closed = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": "t"}, "spec": {"podSelector": {"matchLabels": {"app": "db"}}},
    });
    let outcomes = |policy: &Value| -> Vec<_> {
        simulated(agent, policy).changed.iter().map(|changed| (changed.seen.port, changed.after)).collect()
    };
    assert_eq!(outcomes(&closed), [(80, Outcome::Denied)]);
    assert_eq!(outcomes(&policies[0]), []);

    let suggested = suggested(agent);
    let names: Vec<_> = suggested.iter().map(|policy| policy["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db", "web"]);
    bed.apply(&suggested).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    let wrong = bed.settle(&[(cell("web"), true), (cell("stranger"), false)], PATIENCE).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}
