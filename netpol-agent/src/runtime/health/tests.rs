use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{answer::Health, *};
use crate::{
    dataplane::{
        Capacity, Rows,
        kernel::{Look, Unpoliced},
    },
    engine::Engine,
    model::Name,
    runtime::status::Shared,
    source::{Phase, Watches},
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
    let well = Health { eligible: true, healthy: true, ..Health::default() };
    let leaving = Health { eligible: false, ..well.clone() };
    let sick = Health { healthy: false, waits_for: vec!["the dataplane: full".to_owned()], ..well.clone() };
    let stuck = Health { still: Duration::from_secs(60), ..well.clone() };
    for (path, health, status) in [
        ("/healthz", &well, 200),
        ("/healthz", &leaving, 503),
        ("/healthz", &sick, 503),
        ("/livez", &leaving, 200),
        // Nothing is mended by another start.
        ("/livez", &sick, 200),
        ("/livez", &stuck, 503),
        ("/readyz", &leaving, 200),
        ("/readyz", &sick, 503),
        ("/readyz", &well, 200),
        ("/metrics", &well, 404),
        ("/", &well, 404),
    ] {
        let answer = answer::of_node(path, health);
        assert_eq!(answer.status().as_u16(), status, "{path}: {health:?}");
    }
}

#[test]
fn an_agent_is_ready_once_every_watch_is_complete_and_all_of_it_is_in_force() {
    let (shared, watches) = (shared(), Watches::default());
    let waits_for = || Health::of(&shared, &watches).waits_for;
    assert_eq!(waits_for(), ["the source"]);
    watches.enter("Pod", Phase::Failing);
    watches.enter("ServiceCIDR", Phase::Absent);
    assert_eq!(waits_for(), ["Pod: failing"]);
    shared.update(|status| status.synced = true);
    assert_eq!(waits_for(), ["the dataplane"]);
    shared.update(|status| status.programmed = true);
    assert_eq!(waits_for(), [""; 0], "and stays so when a watch fails later");
    shared.update(|status| status.failure = Some("no memory".to_owned()));
    assert_eq!(waits_for(), ["the dataplane: no memory"]);
}
