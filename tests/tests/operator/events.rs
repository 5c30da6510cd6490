use std::time::Duration;

use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Source},
    eventually,
    flows::status,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// Of the object of that name: reason, note and who has said so.
fn events(bed: &Bed, name: &str) -> Vec<(String, String, String)> {
    let all = bed.api_server().unwrap().objects("Event").into_iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.filter(|event| event["regarding"]["name"] == name)
        .map(|event| (text(&event["reason"]), text(&event["note"]), text(&event["reportingInstance"])))
        .collect()
}

#[test]
fn objects_that_cannot_be_enforced_have_an_event_while_everything_else_goes_on() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let server = bed.start_api_server().unwrap();
    server.set_faults(|faults| faults.forbidden = ["events".to_owned()].into());
    let arguments = vec!["--pending-deadline=300ms".to_owned()];
    let options = AgentOptions { arguments, source: Source::Server, ..AgentOptions::default() };
    bed.start_agents(&options).unwrap();
    let policy = |name: &str, cidr: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "t", "generation": 1},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}]},
        })
    };
    let ghost = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ghost", "namespace": "t"},
        "spec": {"nodeName": "node2", "containers": [{"name": "c"}]},
        "status": {"podIPs": [{"ip": "10.9.9.9"}]},
    });
    server.put(policy("broken", "10.0.0.0/33")).unwrap();
    server.put(ghost).unwrap();
    let agents = bed.agents();
    eventually(PATIENCE, "one of both agents says that it may write no events", || {
        agents.iter().any(|agent| agent.log().contains("Kubernetes Events cannot be written"))
    });
    // Nobody waits for that.
    server.put(policy("sound", "10.0.0.0/8")).unwrap();
    eventually(PATIENCE, "both agents go on", || {
        agents.iter().all(|agent| status(agent).is_ok_and(|status| status.policies == 2 && status.in_sync))
    });
    server.set_faults(|faults| faults.forbidden.clear());
    eventually(PATIENCE, "the policy's event", || !events(&bed, "broken").is_empty());
    let [(reason, note, _)] = &events(&bed, "broken")[..] else { panic!("{:?}", events(&bed, "broken")) };
    assert_eq!(reason, "Invalid");
    assert!(note.starts_with("spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.0/33\""), "{note}");
    eventually(PATIENCE, "the pod's event", || !events(&bed, "ghost").is_empty());
    let [(reason, note, node)] = &events(&bed, "ghost")[..] else { panic!("{:?}", events(&bed, "ghost")) };
    assert_eq!((reason.as_str(), node.as_str()), ("NotPoliced", "node2"));
    assert!(note.contains("no interface with its addresses was found"), "{note}");
    assert_eq!(events(&bed, "sound"), []);
}
