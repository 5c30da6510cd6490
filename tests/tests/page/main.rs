//! The page of real agents, in a real browser (needs root, the CNI plugins and Chromium).

mod forward;

use std::{net::TcpListener, time::Duration};

use forward::{Forward, PAGE};
use netpol_browser::{Browser, ENTER};
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Family, Place},
    eventually,
    flows::status,
    probe::{Cell, Protocol},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t", "labels": {"app": name}},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]},
    })
}

/// The database takes connections from one other pod.
fn policy(from: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "db", "namespace": "t"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": from}}}], "ports": [{"port": 80}]},
        ]},
    })
}

fn cell(from: &str, allowed: bool) -> (Cell, bool) {
    let cell = Cell {
        from: Place::Pod(format!("t/{from}")),
        to: "t/db".to_owned(),
        protocol: Protocol::Tcp,
        port: 80,
        family: Family::V4,
    };
    (cell, allowed)
}

#[track_caller]
fn settle(bed: &Bed, cells: &[(Cell, bool)]) {
    let wrong = bed.settle(cells, PATIENCE).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_real_drop_is_on_the_page_with_its_policy_and_its_explanation() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    // Each node has this address for itself, and one of them has something else there.
    let taken = bed.node("node2").unwrap().netns.enter(|| Ok(TcpListener::bind(PAGE)?)).unwrap();
    bed.start_agents(&AgentOptions::default()).unwrap();
    let [web, stranger, db] = ["web", "stranger", "db"].map(pod);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}});
    bed.apply(&[namespace, web, stranger, db, policy("web")]).unwrap();
    bed.await_agents(PATIENCE).unwrap();

    let problems = |at: usize| {
        let problems = status(&bed.agents()[at]).unwrap().problems;
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let words = format!("--ui-bind: the page in the browser waits for {PAGE}: Address already in use");
    assert!(problems(1).starts_with(&words), "{}", problems(1));
    assert_eq!(problems(0), "");
    drop(taken);
    let [first, second] = ["node1", "node2"].map(|node| Forward::to(&bed, bed.node(node).unwrap()).unwrap());
    eventually(PATIENCE, "the page is there once its address is free", || second.get("names").is_ok());
    assert_eq!(problems(1), "");

    // Connections that policy lets through are recorded for a page that is open.
    let browser = Browser::start();
    browser.resize(1280, 800);
    browser.open(&first.home());
    browser.await_true("document.querySelector('.connection.live')");
    settle(&bed, &[cell("web", true), cell("stranger", false)]);

    let of_stranger = "flows?verdict=dropped&from-pod=t/stranger&to-pod=t/db&protocol=tcp";
    eventually(PATIENCE, "the drop is kept", || first.get(of_stranger).unwrap() != json!([]));
    let record = first.get(of_stranger).unwrap()[0].take();
    let [port, reason] = [&record["destination"]["port"], &record["reason"]];
    assert_eq!((port, reason), (&json!(80), &json!("policy")), "{record}");
    assert_eq!(
        (&record["policies"][0]["namespace"], &record["policies"][0]["name"]),
        (&json!("t"), &json!("db"))
    );
    assert_eq!(second.get("flows").unwrap(), json!([]), "the other node has seen nothing of it");
    let graph = first.get("graph?verdict=dropped").unwrap();
    assert_eq!(graph["nodes"].as_array().unwrap().len(), 2, "{graph}");
    assert!(graph["edges"][0]["dropped"].as_u64().unwrap() > 0, "{graph}");

    // The map: what was denied, and by which policy.
    browser.await_true("document.querySelectorAll('.edge').length === 2");
    let denied = browser.text("document.querySelector('.edge.dropped').getAttribute('aria-label')");
    assert!(denied.starts_with("t/stranger to t/db: ") && denied.contains(" dropped"), "{denied}");
    browser.tab_to(".edge.dropped");
    browser.press(ENTER);
    browser.await_true("document.querySelector('.yaml')?.innerText.includes('kind: NetworkPolicy')");
    let shown = browser.text("document.querySelector('.policy-text').innerText");
    assert!(shown.contains("t/db") && shown.contains("app: web"), "{shown}");
    browser.tab_to(".edge.forwarded");
    browser.press(ENTER);
    browser.await_true("document.querySelector('.yaml mark')?.innerText.includes('- from:')");
    browser.picture("node-map");

    // The filter.
    let rows = "[...document.querySelectorAll('table.flows tbody tr')]";
    browser.open(&format!("{}#flows", first.home()));
    let senders = ["t/web", "t/stranger"]
        .map(|sender| format!("{rows}.some((row) => row.innerText.includes('{sender}'))"));
    browser.await_true(&senders.join(" && "));
    browser.type_into(".filters [name=field]", "from-pod");
    browser.type_into(".filters input[name=value]", &format!("t/web{ENTER}"));
    browser.await_true(&format!("{rows}.length > 0 && {rows}.every((row) => row.matches('.forwarded'))"));
    assert_eq!(browser.text("location.hash"), "#flows?from-pod=t%2Fweb");

    // Why can one not reach the other, and that it can as soon as the policy says so.
    browser.open(&format!("{}#explain", first.home()));
    browser.await_true("document.querySelector('[name=from]')");
    browser.type_into("[name=from]", "t/stranger");
    browser.type_into("[name=to]", "t/db");
    browser.type_into("[name=port]", &format!("80{ENTER}"));
    browser.await_true("document.querySelector('h2.denied')");
    let why = browser.text("document.querySelector('main').innerText");
    for words in ["podSelector does not match pod t/stranger", "maps in the kernel: denied"] {
        assert!(why.contains(words), "{words} is not in\n{why}");
    }
    bed.apply(&[policy("stranger")]).unwrap();
    settle(&bed, &[cell("web", false), cell("stranger", true)]);
    browser.tab_to("button[type=submit]");
    browser.press(ENTER);
    browser.await_true("document.querySelector('h2.allowed')");
    assert_eq!(browser.complaints(), [""; 0]);

    // The agent goes away and comes back, and so does what the page follows.
    browser.open(&format!("{}#flows?verdict=dropped", first.home()));
    browser.await_true(&format!("{rows}.length > 0"));
    bed.take_agent("node1").unwrap().kill().unwrap();
    browser.await_true("document.querySelector('.connection.lost')");
    browser
        .await_true("performance.getEntriesByType('resource').some((entry) => entry.responseStatus === 502)");
    bed.start_agent("node1", &AgentOptions::default()).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    browser.await_true("document.querySelector('.connection.live')");
    settle(&bed, &[cell("web", false)]);
    browser.await_true(&format!("{rows}.some((row) => row.innerText.includes('t/web'))"));
}
