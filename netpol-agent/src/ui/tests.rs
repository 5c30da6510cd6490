//! The page's API over real connections.

use std::{io, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::mpsc::unbounded_channel,
    time::timeout,
};

use super::{
    assets::ASSETS,
    router,
    serve::{answer_all, serve},
};
use crate::{
    ctl::fixture::Fixture,
    flow::{FlowRecord, tests_support::sample},
    model::Level,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An agent whose page is served until it is dropped.
pub(super) struct Page {
    pub(super) fixture: Arc<Fixture>,
    pub(super) port: u16,
    runtime: Runtime,
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Page {
    pub(super) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fixture = Arc::new(Fixture::new());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(answer_all(listener, router(fixture.clone())));
        Self { fixture, port, runtime }
    }

    async fn send(&self, request: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }

    /// The answer to a request without its closing empty line.
    fn ask(&self, request: &str) -> Answer {
        let text = self.runtime.block_on(async {
            let mut stream = self.send(&format!("{request}\r\nConnection: close\r\n\r\n")).await.unwrap();
            let mut text = String::new();
            timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
            text
        });
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, headers: headers.to_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost:{}", self.port))
    }
}

#[test]
fn flows_are_filtered_as_netpolctl_filters_them() {
    let page = Page::start();
    let count = |query: &str| page.get(&format!("/api/flows?{query}")).json().as_array().unwrap().len();
    page.fixture.flows.add(FlowRecord { protocol: "UDP".into(), ..sample() });
    assert_eq!(count(""), 2);
    assert_eq!(count("last=1"), 1);
    assert_eq!(count("verdict=dropped&pod=shop%2Fdb-0&label=app+in+(db,x)&protocol=udp&protocol=tcp"), 2);
    assert_eq!(count("protocol=udp&namespace="), 1);
    assert_eq!(count("not=protocol%3Dudp"), 1);
    assert_eq!(count("since=5m"), 0);
    assert_eq!(page.get("/api/flows").json()[0]["policies"][0]["name"], "db-ingress");
    for (query, words) in [
        ("pod=db-0", "pod: \"db-0\" is not NAMESPACE/NAME"),
        ("not=colour%3Dred", "not: there is no field \"colour\""),
        ("colour=red", "colour: there is no field \"colour\""),
        ("since=5", "since: a time is a number with s, m, h or d: 30s"),
        ("last=many", "last: \"many\" is no number: invalid digit found in string"),
        ("last=1001", "last: at most 1000"),
    ] {
        for path in ["flows", "flows/follow"] {
            let answer = page.get(&format!("/api/{path}?{query}"));
            assert_eq!((answer.status, &answer.json()["error"]), (400, &words.into()));
        }
    }
}

#[test]
fn who_follows_gets_records_as_they_come() {
    let page = Page::start();
    let flows = &page.fixture.flows;
    page.runtime.block_on(async {
        let request = "GET /api/flows/follow?last=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        let mut lines = BufReader::new(page.send(request).await.unwrap()).lines();
        let mut next = async |wanted: &str| {
            let found = async {
                loop {
                    let line = lines.next_line().await.unwrap().expect("goes on");
                    if let Some(value) = line.strip_prefix(wanted) {
                        return value.to_owned();
                    }
                }
            };
            timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {wanted}"))
        };
        assert_eq!(next("content-type: ").await, "text/event-stream");
        let record = |text: String| serde_json::from_str::<FlowRecord>(&text).unwrap();
        assert_eq!(next("event: ").await, "flow");
        assert_eq!(record(next("data: ").await), sample());
        flows.add(FlowRecord { length: 7, ..sample() });
        assert_eq!(record(next("data: ").await).length, 7);
        flows.miss(3);
        assert_eq!((next("event: ").await, next("data: ").await), ("missed".to_owned(), "3".to_owned()));
        assert_eq!(flows.counts().followers, 1);
        drop(lines);
        let gone = async {
            while flows.counts().followers > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.expect("the server notices that nobody follows");
    });
}

#[test]
fn a_policy_is_shown_with_the_lines_of_its_rule() {
    let page = Page::start();
    let answer = page.get("/api/policy?namespace=shop&name=db-ingress&rule=spec.ingress[0]").json();
    let yaml: Vec<_> = answer["yaml"].as_str().unwrap().lines().collect();
    let line = |field: &str| usize::try_from(answer["rule"][field].as_u64().unwrap()).unwrap();
    assert!(yaml.contains(&"kind: NetworkPolicy"), "{yaml:?}");
    assert_eq!(yaml[line("first")].trim(), "- from:");
    assert_eq!(yaml[line("end") - 1].trim().trim_start_matches("- "), "port: 5432");
    let answer = page.get("/api/policy?namespace=shop&name=gone");
    let words = "there is no NetworkPolicy shop/gone";
    assert_eq!((answer.status, &answer.json()["error"]), (404, &words.into()));
}

#[test]
fn why_one_cannot_reach_another_is_explained() {
    let page = Page::start();
    let answer = page.get("/api/explain?from=shop/stranger&to=shop/db-0").json();
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["ways"][0]["ingress"]["denied"]["isolated_by"][0]["name"], "db-ingress");
    assert_eq!(
        answer["lacks"][0]["ingress"][0][0],
        "spec.ingress[0].from[0]: podSelector does not match pod shop/stranger"
    );
    assert_eq!(page.get("/api/explain?from=shop/web&to=service:shop/db&port=80").json()["allowed"], true);
    let answer = page.get("/api/explain?from=shop/web&to=shop/nobody");
    assert_eq!((answer.status, &answer.json()["error"]), (422, &"there is no pod shop/nobody".into()));
    assert_eq!(page.get("/api/explain?from=shop/web&to=shop/db-0&port=x").status, 422);
    assert_eq!(page.get("/api/names").json()["policies"][0]["name"], "db-ingress");
}

#[test]
fn the_map_has_the_drops() {
    let page = Page::start();
    assert_eq!(page.get("/api/graph?by=service&verdict=dropped").json()["edges"][0]["dropped"], 1);
    assert_eq!(page.get("/api/graph?verdict=forwarded").json()["edges"], Value::Array(Vec::new()));
    assert_eq!(page.get("/api/graph?by=colour").status, 400);
}

#[test]
fn an_address_that_is_taken_is_a_problem_until_it_is_free() {
    let page = Page::start();
    page.runtime.block_on(async {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let (tell, mut told) = unbounded_channel();
        let served =
            tokio::spawn(serve(address, page.fixture.clone(), move |problem| tell.send(problem).unwrap()));
        let problem = timeout(PATIENCE, told.recv()).await.unwrap().unwrap().unwrap();
        let words = format!("--ui-bind: the page in the browser waits for {address}: Address already in use");
        assert!(problem.to_string().starts_with(&words), "{problem}");
        assert_eq!(problem.level, Level::Error);
        drop(taken);
        assert_eq!(timeout(PATIENCE, told.recv()).await.unwrap(), Some(None));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /api/names HTTP/1.1\r\nHost: [::1]\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut status)).await.unwrap().unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        served.abort();
    });
}

#[test]
fn pages_of_other_sites_are_kept_out() {
    let page = Page::start();
    let status = |host: &str| page.ask(&format!("GET /api/flows HTTP/1.1{host}")).status;
    for ours in ["localhost", "LOCALHOST:9472", "127.0.0.1:1", "[::1]:9472", "192.0.2.1"] {
        assert_eq!(status(&format!("\r\nHost: {ours}")), 200, "{ours}");
    }
    for others in ["rebound.example", "localhost.example:80", "user@localhost", "127.0.0.1.example", "", "::"]
    {
        assert_eq!(status(&format!("\r\nHost: {others}")), 421, "{others}");
    }
    assert_eq!(status(""), 421);
    assert_eq!(status("\r\nHost: localhost\r\nHost: rebound.example"), 421);
    let absolute = page.ask("GET http://rebound.example/api/flows HTTP/1.1\r\nHost: localhost");
    assert_eq!(absolute.status, 421);
    let others = page.ask("GET /api/flows HTTP/1.1\r\nHost: localhost\r\nOrigin: http://rebound.example");
    assert!(!others.headers.contains("access-control-allow-origin"), "{}", others.headers);
}

#[test]
fn nothing_can_be_written_and_nothing_comes_from_elsewhere() {
    let page = Page::start();
    for path in ["/", "/api/flows", "/api/policy", "/api/explain", "/main.js"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0");
            assert_eq!(page.ask(&request).status, 405, "{method} {path}");
        }
    }
    assert_eq!(page.get("/../Cargo.toml").status, 404);
    for (name, kind, content) in ASSETS {
        let answer = page.get(&format!("/{name}"));
        assert_eq!((answer.status, &*answer.body), (200, *content), "{name}");
        assert!(answer.headers.contains(&format!("content-type: {kind}")), "{}", answer.headers);
        assert!(answer.headers.contains("content-security-policy: default-src 'none'; script-src 'self'"));
        if !name.starts_with("vendor/") {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "https://", "style=\""] {
                assert!(!content.contains(word), "{name} has {word}");
            }
        }
    }
    assert_eq!(page.get("/").body, page.get("/index.html").body);
}
