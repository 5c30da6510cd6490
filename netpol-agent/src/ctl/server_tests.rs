//! Server, client and commands over a real socket.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    cli::{self, Args, Exit, Output},
    ctl::{Audience, Client, ClientError, Socket, api, fixture::Fixture, serve, server::MAX_REQUEST},
    flow::{Filter, FlowRecord, tests_support::sample},
};

/// An agent that serves until it is dropped.
struct Agent {
    folder: TempDir,
    fixture: Arc<Fixture>,
    _runtime: Runtime,
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fixture = Arc::new(Fixture::new());
        let socket = Socket::bind(&folder.path().join("netpol.sock"), Audience::Owner).unwrap();
        runtime.spawn(serve(socket, fixture.clone()));
        Self { folder, fixture, _runtime: runtime }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("netpol.sock")
    }

    fn run(&self, words: &[&str]) -> (Result<Exit, String>, String) {
        let mut written = Vec::new();
        let result = cli::run(&args(&self.socket(), words), &mut Output::to(&mut written));
        (result.map_err(|e| e.to_string()), String::from_utf8(written).unwrap())
    }

    fn table(&self, words: &[&str]) -> String {
        let (exit, text) = self.run(words);
        assert_eq!(exit, Ok(Exit::Done), "{text}");
        text
    }

    fn json(&self, words: &[&str]) -> Value {
        let text = self.table(&[&["-o", "json"], words].concat());
        serde_json::from_str(&text).unwrap()
    }
}

fn args(socket: &Path, words: &[&str]) -> Args {
    Args::parse_from(["netpolctl", "--socket", socket.to_str().unwrap()].iter().chain(words))
}

/// What stands in a table below its headings, cut at columns.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().skip(1);
    lines.map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}

#[test]
fn status_names_everything_that_is_wrong() {
    let agent = Agent::start();
    let text = agent.table(&["status"]);
    for line in [
        "node          n1",
        "source        dir:/manifests, has delivered everything",
        "pods          2 ready, 0 pending, 0 changing",
        "problem  broken.yaml: line 3, column 1: unclosed quote",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
    }
    let json = agent.json(&["status"]);
    assert_eq!((&json["in_sync"], &json["endpoints"]["ready"]), (&true.into(), &2.into()));
}

#[test]
fn tables_show_pods_policies_and_services() {
    let agent = Agent::start();
    assert_eq!(
        rows(&agent.table(&["endpoints"])),
        [
            ["shop/db-0", "10.244.1.20", "veth-db (12)", "ready", "shop/db-ingress", "open", "0", "-"],
            ["shop/web", "10.244.1.10,fd00::10", "veth-web (11)", "ready", "open", "open", "0", "-"],
        ]
    );
    assert_eq!(
        rows(&agent.table(&["policies"])),
        [["shop/db-ingress", "1 rule", "-", "1", "1", "in force", "-", "shop.yaml"]]
    );
    let services = agent.table(&["services"]);
    assert_eq!(
        rows(&services)[0],
        ["shop/db", "10.96.0.9:80/TCP", "cluster", "-", "ready", "-", "1", "shop/db-0:5432*"]
    );
    assert_eq!(agent.json(&["policies"])[0]["policy"]["name"], "db-ingress");
}

#[test]
fn kept_records_are_shown_and_filtered() {
    let agent = Agent::start();
    let wanted = ["flows", "--verdict", "dropped", "--pod", "shop/db-0", "--label", "app in (db,x)"];
    assert_eq!(
        agent.table(&[&["-o", "compact"][..], &wanted].concat()),
        "12:03:04.512 DROPPED ingress shop/frontend:43122 → shop/db-0:5432 TCP policy: isolated by shop/db-ingress\n"
    );
    let text = agent.table(&wanted);
    assert!(text.starts_with("TIME") && text.contains("  shop/db-0:5432  TCP  "), "{text}");
    assert_eq!(agent.table(&["-o", "compact", "flows", "--pod", "shop/other"]), "");
    assert_eq!(agent.table(&["flows", "--not", "policy=shop/db-ingress"]), "no records\n");
    let top = agent.table(&["top", "drops", "--by", "reason"]);
    assert!(
        top.lines()
            .nth(1)
            .is_some_and(|line| line.trim_start().starts_with("1  2026-") && line.ends_with("policy")),
        "{top}"
    );
    assert_eq!(agent.json(&["top", "drops"])[0]["packets"], 1);
    assert_eq!(agent.json(&["flows"])["policies"][0]["name"], "db-ingress");
}

#[test]
fn a_follower_gets_records_as_they_come_and_hangs_up_at_will() {
    let agent = Agent::start();
    let mut client = Client::connect(&agent.socket()).unwrap();
    let request = api::FlowsRequest { filter: Filter::default(), last: 1, follow: true };
    client.send(&api::Request::Flows(request)).unwrap();
    let mut next = || match client.receive().unwrap() {
        api::Response::Flow(record) => record.length,
        other => panic!("{other:?}"),
    };
    assert_eq!(next(), sample().length);
    for length in 1..=3 {
        agent.fixture.flows.add(FlowRecord { length, ..sample() });
        assert_eq!(next(), length);
    }
    assert_eq!(agent.fixture.flows.counts().followers, 1);
    drop(client);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while agent.fixture.flows.counts().followers > 0 {
        assert!(std::time::Instant::now() < deadline, "the server has not noticed");
        std::thread::yield_now();
    }
}

#[test]
fn explain_tells_by_its_exit_code() {
    let agent = Agent::start();
    let (exit, text) = agent.run(&["explain", "shop/web", "service:shop/db"]);
    assert_eq!(exit, Ok(Exit::Done), "{text}");
    assert!(text.contains("by shop/db-ingress spec.ingress[0]") && text.ends_with("ALLOWED\n"), "{text}");
    let (exit, text) = agent.run(&["explain", "shop/stranger", "shop/db-0"]);
    assert_eq!(exit, Ok(Exit::Denied), "{text}");
    assert!(text.contains("isolated by shop/db-ingress") && text.ends_with("DENIED\n"), "{text}");
    let (exit, _) = agent.run(&["explain", "shop/web", "shop/nobody"]);
    assert_eq!(exit, Err("there is no pod shop/nobody".to_owned()));
}

#[test]
fn what_is_wrong_is_told_with_what_to_do_and_by_the_exit_code() {
    let agent = Agent::start();
    let (exit, text) = agent.run(&["why", "service/shop/idle"]);
    assert_eq!(exit, Ok(Exit::Errors), "{text}");
    let wanted = "error    Service shop/idle: has no endpoints: no pod matches its selector app=nobody; pods of its namespace have \
                  app=db, app=web\n         → make spec.selector";
    assert!(text.starts_with(wanted), "{text}");
    let (exit, text) = agent.run(&["why", "service/shop/db"]);
    assert_eq!(exit, Ok(Exit::Done), "{text}");
    assert!(text.contains("only these may reach it"), "{text}");
    let (exit, _) = agent.run(&["why", "pod/shop/nobody"]);
    assert_eq!(exit, Err("there is no Pod shop/nobody".to_owned()));

    let (exit, text) = agent.run(&["check"]);
    assert_eq!(exit, Ok(Exit::Errors), "{text}");
    for line in [
        "error    Service shop/idle: has no endpoints",
        "error    broken.yaml: line 3, column 1: unclosed quote",
    ] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line:?} is not in\n{text}");
    }
    let absent = agent.folder.path().join("absent.sock");
    let mut written = Vec::new();
    let exit = cli::run(&args(&absent, &["check"]), &mut Output::to(&mut written));
    let text = String::from_utf8(written).unwrap();
    assert_eq!(exit.unwrap(), Exit::Errors);
    assert!(text.contains("error    agent: no agent listens at "), "{text}");
}

#[test]
fn nonsense_is_refused_and_the_connection_lives_on() {
    let agent = Agent::start();
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.write_all(b"{\"request\":\"delete\"}\n{\"request\":\"policies\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let lines: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["error"].as_str().unwrap().starts_with("not a request: "), "{answer}");
    assert_eq!(lines[1]["policies"][0]["policy"]["name"], "db-ingress");
}

#[test]
fn a_request_that_is_too_long_is_refused_as_a_whole_and_names_the_limit() {
    let agent = Agent::start();
    let refusal = "a request has at most 8 MiB, and this one is longer";
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    // What would come next if the rest were read as a request.
    let long = [vec![b' '; MAX_REQUEST + 1], b"{\"request\":\"policies\"}\n".to_vec()].concat();
    stream.write_all(&long).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), serde_json::json!({ "error": refusal }));

    let file = agent.folder.path().join("long.yaml");
    std::fs::write(&file, format!("# {}\n", "x".repeat(2 * MAX_REQUEST))).unwrap();
    assert_eq!(agent.run(&["simulate", "-f", file.to_str().unwrap()]).0.unwrap_err(), refusal);
    // Others are answered.
    assert!(agent.table(&["policies"]).contains("db-ingress"));
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    let request = b"{\"request\":\"policies\"}\n";
    stream.write_all(&[vec![b' '; MAX_REQUEST - request.len()], request.to_vec()].concat()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    answer.clear();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("db-ingress"), "as long as may be: {answer}");
}

#[test]
fn without_an_agent_the_error_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netpol.sock");
    let error = Client::connect(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no agent listens at {}: is netpol-agent running?", path.display())
    );
    assert!(matches!(error, ClientError::NoAgent(_)));
}

#[test]
fn a_change_of_policies_is_tried_on_what_was_seen() {
    let agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: db-ingress, namespace: shop}\n";
    let open =
        "spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: frontend}}}]}]}\n";
    let open = file("open.yaml", &format!("{head}{open}"));
    // The record is of a drop that a policy made: frontend → db.
    let text = agent.table(&["simulate", "-f", &open]);
    for words in [
        "allowed  shop/frontend → shop/db-0, TCP port 5432: once, last 2026-03-01T12:03:04Z (now denied)",
        "ingress  by shop/db-ingress spec.ingress[0] (peer: spec.ingress[0].from[0], port: every port)",
        "0 would be denied, 1 allowed, 0 audited; 0 stay as they are",
        "from memory",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let (exit, text) = agent.run(&["simulate", "--delete", "shop/db-ingress", "--since", "1d"]);
    assert_eq!(exit, Ok(Exit::Done));
    assert!(text.contains("judged 0 kinds"), "{text}");
    let closed =
        file("closed.yaml", &format!("{}spec: {{podSelector: {{}}}}\n", head.replace("db-ingress", "all")));
    // Added beside the other, it changes nothing; in its place neither: the record was denied before.
    assert!(agent.table(&["simulate", "-f", &closed]).contains("1 stay as they are"));
    let json = agent.json(&["simulate", "-f", &open]);
    assert_eq!((&json["judged"], &json["changed"][0]["after"]), (&1.into(), &"allowed".into()));

    let fails = |words: &[&str]| agent.run(words).0.unwrap_err();
    assert_eq!(fails(&["simulate", "--delete", "shop/x"]), "there is no NetworkPolicy shop/x to delete");
    let pod = file("pod.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}}");
    assert_eq!(fails(&["simulate", "-f", &pod]), format!("{pod} holds no NetworkPolicy"));
    let broken = file("broken.yaml", "kind: [");
    assert!(fails(&["simulate", "-f", &broken]).starts_with(&broken));
    assert!(fails(&["simulate", "-f", "/nowhere"]).contains("cannot read /nowhere"));
}

#[test]
fn a_simulation_that_denies_ends_with_another_code() {
    let agent = Agent::start();
    let mut record = FlowRecord { verdict: crate::flow::Verdict::Forwarded, ..sample() };
    record.destination.as_mut().unwrap().port = 80;
    record.destination.as_mut().unwrap().pod = Some("web".into());
    record.destination.as_mut().unwrap().labels =
        crate::model::Labels::new([("app".to_owned(), "web".to_owned())].into());
    agent.fixture.flows.add(record);
    let file = agent.folder.path().join("new.json");
    std::fs::write(
        &file,
        r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "all", "namespace": "shop"}, "spec": {"podSelector": {}}}"#,
    )
    .unwrap();
    let (exit, text) = agent.run(&["simulate", "-f", file.to_str().unwrap()]);
    assert_eq!(exit, Ok(Exit::Denied), "{text}");
    assert!(text.contains("denied   shop/frontend → shop/web, TCP port 80: once"), "{text}");
    assert!(text.contains("ingress  isolated by shop/all"), "{text}");
}

#[test]
fn suggested_policies_are_manifests_that_the_agent_reads_itself() {
    let agent = Agent::start();
    let nothing = agent.run(&["suggest", "--namespace", "shop"]).0.unwrap_err();
    assert_eq!(nothing, "nothing was seen of pods of namespace shop that policies did not deny (memory)");
    agent.fixture.flows.add(FlowRecord { verdict: crate::flow::Verdict::Audit, ..sample() });
    let text = agent.table(&["suggest", "-n", "shop", "--audit"]);
    let crate::source::Contents { manifests, problems } = crate::source::read("suggested.yaml", &text);
    assert_eq!((problems, manifests.len()), (vec![], 2), "{text}");
    let db = serde_json::to_value(&manifests[0]).unwrap();
    assert_eq!(db["metadata"]["annotations"]["netpol.dev/mode"], "audit");
    assert_eq!(db["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]["app"], "frontend");
    assert_eq!(db["spec"]["ingress"][0]["ports"][0]["port"], 5432);
    let file = agent.folder.path().join("suggested.yaml");
    std::fs::write(&file, &text).unwrap();
    let json = agent.json(&["simulate", "-f", file.to_str().unwrap()]);
    assert_eq!(json["judged"], 2);
    let json = agent.json(&["suggest", "-n", "shop"]);
    assert_eq!(json["suggestion"]["policies"].as_array().unwrap().len(), 2);
}
