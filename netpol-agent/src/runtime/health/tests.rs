use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::*;
use crate::{
    dataplane::{
        Capacity, Rows,
        kernel::{Look, Unpoliced},
    },
    engine::Engine,
    model::Name,
    runtime::status::Shared,
};

fn shared() -> Shared {
    let none = Capacity {
        ports: 0,
        policy: 0,
        cidrs: 0,
        peers: 0,
        endpoints: 0,
        frontends: 0,
        services: 0,
        backends: 0,
        members: 0,
        ranges: 0,
        service_nets: 0,
        cluster: 0,
    };
    let (look, _) = Look::channel();
    Shared::new(Engine::new("node1", none, Rows::default()), look, Unpoliced::default()).0
}

fn check(port: u16) -> HealthCheck {
    HealthCheck { v4: true, port, service: Name::new("shop", "web") }
}

fn checks(port: u16, ready: usize) -> Checks {
    Checks { addresses: vec![IpAddr::from([127, 0, 0, 1])], ready: [(check(port), ready)].into() }
}

/// Status and the rest of an answer; `None` if nobody listens.
async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.to_lowercase()))
}

async fn until(port: u16, wanted: impl Fn(Option<u16>) -> bool) -> String {
    let seen = async {
        loop {
            let answer = get(port, "/any").await;
            if wanted(answer.as_ref().map(|(status, _)| *status)) {
                return answer.map_or_else(String::new, |(_, rest)| rest);
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), seen).await.expect("the answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_is_told_how_many_backends_are_ready_as_long_as_it_may_ask() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let shared = shared();
    shared.told().settle(checks(port, 2));
    let answering = tokio::spawn(run(shared.clone()));
    let answer = until(port, |status| status == Some(503)).await;
    assert!(answer.contains("\"serviceproxyhealthy\":false"), "nothing is in force yet: {answer}");
    shared.update(|status| status.synced = true);
    let answer = until(port, |status| status == Some(200)).await;
    assert!(answer.contains("x-load-balancing-endpoint-weight: 2\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    assert!(answer.contains("\"localendpoints\":2"), "{answer}");
    assert!(answer.contains("\"service\":{\"name\":\"web\",\"namespace\":\"shop\"}"), "{answer}");

    shared.told().lower(&checks(port, 1));
    assert_eq!(get(port, "/").await.map(|(status, _)| status), Some(200), "one is left");
    shared.told().lower(&checks(port, 0));
    let (status, answer) = get(port, "/").await.unwrap();
    assert_eq!(status, 503);
    assert!(answer.contains("x-load-balancing-endpoint-weight: 0\r\n"), "{answer}");
    shared.told().settle(Checks::default());
    until(port, |status| status.is_none()).await;
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_a_problem_until_it_is_free() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let shared = shared();
    shared.update(|status| status.synced = true);
    shared.told().settle(checks(port, 1));
    let answering = tokio::spawn(run(shared.clone()));
    let seen = async {
        while shared.status().unheard.is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), seen).await.expect("a problem");
    let problem = shared.problems().remove(0);
    assert_eq!(problem.field, "spec.healthCheckNodePort");
    assert!(problem.message.starts_with(&format!("127.0.0.1:{port}: ")), "{}", problem.message);
    drop(other);
    until(port, |status| status == Some(200)).await;
    let seen = async {
        while !shared.status().unheard.is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), seen).await.expect("no problem any more");
    answering.abort();
}

#[test]
fn a_node_that_leaves_takes_no_more_and_lives() {
    for (path, eligible, healthy, status) in [
        ("/healthz", true, true, 200),
        ("/healthz", false, true, 503),
        ("/healthz", true, false, 503),
        ("/livez", false, true, 200),
        ("/livez", true, false, 503),
        ("/", true, true, 404),
    ] {
        let answer = answer::of_node(path, eligible, healthy);
        assert_eq!(answer.status().as_u16(), status, "{path}, eligible: {eligible}, healthy: {healthy}");
    }
}
