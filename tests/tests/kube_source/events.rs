//! Kubernetes Events about objects that are not in force as written.

use std::{sync::Arc, time::Duration};

use netpol_agent::{
    model::Name,
    recorder::{self, Counts, MAX_NOTE, RecorderOptions, Report, Reports, Scope},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::client::{Served, policy};

const PATIENCE: Duration = Duration::from_secs(30);

fn invalid(name: &str, generation: i64) -> Report {
    Report {
        object: Name::new("shop", name).of_kind("NetworkPolicy"),
        generation,
        field: "spec.ingress[0].from[0].ipBlock.cidr".into(),
        reason: "Invalid",
        message: "\"10.0.0.0/33\": no prefix; the block matches nothing".into(),
        scope: Scope::Cluster,
    }
}

/// The agent of a node, as far as it speaks.
struct Speaker {
    publish: watch::Sender<Arc<Reports>>,
    counts: Counts,
}

impl Speaker {
    async fn new(served: &Served, node: &str) -> Self {
        let client = served.source().await.client();
        let (publish, reports) = watch::channel(Arc::default());
        let counts = Counts::default();
        let options = RecorderOptions { node: node.into(), turn: Duration::ZERO };
        tokio::spawn(recorder::run(client, options, reports, counts.clone()));
        Self { publish, counts }
    }

    fn publish(&self, reports: &[Report]) {
        let nodes = vec!["node1".to_owned(), "node2".to_owned()];
        let reports = Reports { reports: reports.iter().cloned().collect(), nodes };
        self.publish.send_replace(Arc::new(reports));
    }

    fn count(&self, result: &str) -> u64 {
        let all = self.counts.all().into_iter();
        all.filter(|(name, _)| *name == result).map(|(_, count)| count).sum()
    }
}

async fn until(what: &str, mut wanted: impl FnMut() -> bool) {
    let seen = async {
        while !wanted() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(PATIENCE, seen).await.is_ok(), "not within {PATIENCE:?}: {what}");
}

fn events(served: &Served) -> Vec<Value> {
    served.server.objects("Event")
}

fn with_generation(name: &str, generation: i64) -> Value {
    let mut object = policy(name);
    object["metadata"]["generation"] = json!(generation);
    object
}

#[tokio::test]
async fn agents_of_all_nodes_write_one_event_for_each_object_and_generation() {
    let served = Served::new();
    served.put(with_generation("p", 1));
    let speakers = [Speaker::new(&served, "node1").await, Speaker::new(&served, "node2").await];
    speakers.iter().for_each(|speaker| speaker.publish(&[invalid("p", 1)]));
    until("both have spoken", || {
        let said = |speaker: &Speaker| speaker.count("created") + speaker.count("needless");
        speakers.iter().all(|speaker| said(speaker) == 1)
    })
    .await;
    let all = events(&served);
    assert_eq!(all.len(), 1, "{all:?}");
    let (event, uid) = (&all[0], &served.server.objects("NetworkPolicy")[0]["metadata"]["uid"]);
    assert_eq!(event["metadata"]["namespace"], "shop");
    assert_eq!(event["regarding"]["kind"], "NetworkPolicy");
    assert_eq!(event["regarding"]["name"], "p");
    assert_eq!(event["regarding"]["uid"], *uid);
    assert_eq!(event["regarding"]["apiVersion"], "networking.k8s.io/v1");
    assert_eq!(event["regarding"]["fieldPath"], "spec.ingress[0].from[0].ipBlock.cidr");
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("Invalid")));
    let note = event["note"].as_str().unwrap();
    assert!(note.starts_with("spec.ingress[0].from[0].ipBlock.cidr: ") && note.len() <= MAX_NOTE, "{note}");
    // What the API server asks of every event (pkg/apis/core/validation/events.go).
    for field in ["eventTime", "action", "reportingController", "reportingInstance"] {
        assert!(event[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {event}");
    }

    // Another generation with the same fault, and one of which the server knows no more.
    served.put(with_generation("p", 2));
    speakers[0].publish(&[invalid("p", 1), invalid("p", 2), invalid("gone", 1)]);
    until("all three are dealt with", || speakers[0].count("created") + speakers[0].count("needless") == 3)
        .await;
    assert_eq!(events(&served).len(), 2);
}

#[tokio::test]
async fn what_the_server_refuses_is_written_once_it_does_not() {
    let served = Served::new();
    served.put(with_generation("p", 1));
    served.server.set_faults(|faults| faults.forbidden = ["events".to_owned()].into());
    let speaker = Speaker::new(&served, "node1").await;
    speaker.publish(&[invalid("p", 1)]);
    until("it was refused", || speaker.count("failed") > 0).await;
    served.server.set_faults(|faults| (faults.unavailable, faults.forbidden) = (true, Default::default()));
    until("it was refused again", || speaker.count("failed") > 1).await;
    assert_eq!(events(&served), [Value::Null; 0]);
    served.server.set_faults(|faults| faults.unavailable = false);
    until("it was written", || speaker.count("created") == 1).await;
    assert_eq!(events(&served).len(), 1);
}
