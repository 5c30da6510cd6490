use std::{process::Command, time::Duration};

use netpol_tests::bed::{AgentOptions, Bed, ClusterSpec, program};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// Exit code and output of `netpolctl` on node1.
fn netpolctl(bed: &Bed, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program("netpolctl").unwrap());
    command.arg("--socket").arg(&bed.agents()[0].socket).args(words);
    let output = bed.node("node1").unwrap().netns.output(&mut command).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("$ netpolctl {}\n{text}", words.join(" "));
    (output.status.code(), text)
}

fn pod(name: &str, node: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
    })
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

#[test]
fn a_node_is_diagnosed_in_words_with_what_to_do() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.start_agent("node1", &AgentOptions::default()).unwrap();
    bed.apply(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        pod("web-1", "node1", json!({"app": "web"})),
        pod("client", "node1", json!({"app": "client"})),
        pod("far-1", "node2", json!({"app": "far"})),
        service("web", json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]})),
    ])
    .unwrap();
    bed.await_agents(PATIENCE).unwrap();
    // Whatever the machine has mounted, nothing is wrong with what the agent knows, and its programs are in place.
    let (_, text) = netpolctl(&bed, &["check"]);
    for word in ["Service ", "Pod ", "NetworkPolicy ", "interface ", "agent", "another proxy", "map "] {
        assert!(!text.contains(&format!(" {word}")), "{word:?} is in {text}");
    }
    assert_eq!(netpolctl(&bed, &["why", "service/shop/web"]).0, Some(0));

    bed.apply(&[
        service("shop", json!({"selector": {"app": "webb"}, "ports": [{"port": 80}]})),
        service("named", json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "https"}]})),
        service("local", json!({"selector": {"app": "far"}, "internalTrafficPolicy": "Local", "ports": [{"port": 80}]})),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "frontend"}}}], "ports": [{"port": "htp"}]}]},
        }),
    ])
    .unwrap();
    bed.tell(&pod("ghost", "node1", json!({"app": "ghost"}))).unwrap();
    let node = bed.node("node1").unwrap();
    let mut nft = Command::new("nft");
    nft.args(["add table ip kube-proxy; add chain ip kube-proxy services"]);
    assert!(node.netns.output(&mut nft).unwrap().status.success());
    let (exit, text) = netpolctl(&bed, &["check"]);
    assert_eq!(exit, Some(5), "{text}");
    for line in [
        "error    Service shop/shop: has no endpoints: no pod matches its selector app=webb; pods of its namespace have app=client, app=far, app=ghost, app=web",
        "error    Service shop/named: port 80 goes to the TCP port named \"https\", which no container has in: shop/web-1",
        "warning  Service shop/local: port 80 has no endpoint on this node, and internalTrafficPolicy: Local leaves only those: its pods are on node2",
        "warning  NetworkPolicy shop/web: spec.ingress[0].from[0] matches nobody: there is none among pods with app=frontend of its namespace",
        "warning  NetworkPolicy shop/web: spec.ingress[0].ports[0] allows nothing: none of the 1 pod that it is for has a TCP port named \"htp\"",
        "error    Pod shop/ghost: is closed: the Pod has no address in its status yet",
        "warning  another proxy: has rules beside netpol (table ip kube-proxy, by nft): what goes past netpol's programs is theirs",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
    }
    let (exit, text) = netpolctl(&bed, &["why", "service/shop/web"]);
    assert_eq!(exit, Some(5));
    assert!(
        text.contains(
            "Pod shop/web-1: nobody may reach it: isolated for ingress by shop/web, whose rules match no pod"
        ),
        "{text}"
    );
    for words in
        [&["why", "service/shop/shop"][..], &["why", "networkpolicy/shop/web"], &["why", "pod/shop/client"]]
    {
        assert!(!netpolctl(&bed, words).1.is_empty(), "{words:?}");
    }
    let (exit, text) = netpolctl(&bed, &["explain", "shop/client", "service:shop/web"]);
    assert!(exit == Some(3) && text.contains("DENIED"), "{text}");
}
