use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::eyes::{Answers, Way};

/// Who is asked about besides the pods of the node: pods elsewhere, and strangers.
pub(super) const OTHERS: [&str; 6] =
    ["10.244.9.1", "10.244.9.2", "fd00:10:244:9::1", "192.168.1.1", "192.168.2.1", "2001:db8::1"];
/// Where Services are, or will be.
pub(super) const SERVICES: [&str; 2] = ["10.96.0.10", "10.96.0.11"];

/// A change and its reverse.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) from: Vec<Value>,
    pub(super) to: Vec<Value>,
    /// Whether the way back is of another kind: then it is interrupted as well.
    pub(super) both_ways: bool,
    /// Pods of the node that are there before and after.
    pub(super) pods: &'static [&'static str],
    pub(super) grain: Grain,
}

/// What turns at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grain {
    /// All that a pod sends, and all that it receives.
    Pod,
    /// Each connection on its own.
    Connection,
    /// The pods that stay see nothing of it.
    Nothing,
}

impl Grain {
    /// Whether what is found between two states is one of them.
    pub(super) fn check(self, between: &Answers, old: &Answers, new: &Answers) -> Result<()> {
        for (opening, answer) in between {
            let ends = [&old[opening], &new[opening]];
            ensure!(ends.contains(&answer), "{opening:?}: {answer:?} is none of {ends:?}");
        }
        if self == Self::Connection {
            return Ok(());
        }
        let (between, old, new) = (by_pod(between), by_pod(old), by_pod(new));
        for (pod, answers) in &between {
            ensure!([&old[pod], &new[pod]].contains(&answers), "{pod:?} is between old and new");
        }
        Ok(())
    }
}

type OfPod = BTreeMap<(String, Way), Vec<Option<SocketAddr>>>;

fn by_pod(answers: &Answers) -> OfPod {
    let mut all = OfPod::new();
    for (opening, answer) in answers {
        all.entry((opening.pod.clone(), opening.way)).or_default().push(*answer);
    }
    all
}

fn pod(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "t", "labels": labels},
        "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
    })
}

/// On a node that nobody has: known by its object.
pub(super) fn far(namespace: &str, name: &str, labels: &Value, addresses: &[&str]) -> Value {
    let ips: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": "node9", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": addresses[0], "podIPs": ips},
    })
}

fn namespace(name: &str, stage: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"stage": stage}}})
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "t"}, "spec": spec,
    })
}

/// Target ports differ, so that no two Services make one connection of a client to one pod.
pub(super) fn service(name: &str, address: &str, app: &str, target: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "t"},
        "spec": {"clusterIP": address, "selector": {"app": app}, "ports": [{"port": 80, "targetPort": target}]},
    })
}

/// Two pods here, two elsewhere, and what a case adds.
pub(super) fn with(more: &[Value]) -> Vec<Value> {
    let base = [
        namespace("t", "live"),
        namespace("u", "live"),
        pod("db", &json!({"app": "db"})),
        pod("web", &json!({"app": "web"})),
        far("t", "a", &json!({"app": "web", "tier": "front"}), &["10.244.9.1", "fd00:10:244:9::1"]),
        far("u", "b", &json!({"tier": "front"}), &["10.244.9.2"]),
    ];
    let is_replaced = |object: &&Value| {
        !more
            .iter()
            .any(|new| new["kind"] == object["kind"] && new["metadata"]["name"] == object["metadata"]["name"])
    };
    base.iter().filter(is_replaced).chain(more).cloned().collect()
}

pub(super) const PODS: &[&str] = &["t/db", "t/web"];

pub(super) fn edited_policy() -> Case {
    Case {
        name: "policy edited",
        both_ways: false,
        from: with(&[policy(
            "p",
            &json!({
                "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]}],
                "egress": [{"to": [{"ipBlock": {"cidr": "192.168.1.0/24"}}]}],
            }),
        )]),
        to: with(&[policy(
            "p",
            &json!({
                "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"tier": "front"}}}]}],
                "egress": [{"to": [{"ipBlock": {"cidr": "192.168.0.0/16"}}], "ports": [{"port": 81}]}],
            }),
        )]),
        pods: PODS,
        grain: Grain::Pod,
    }
}

pub(super) fn blocks() -> Case {
    let policy = |blocks: &Value| {
        let peers: Vec<_> =
            blocks.as_array().into_iter().flatten().map(|block| json!({"ipBlock": block})).collect();
        policy(
            "p",
            &json!({
                "podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": peers}], "egress": [{"to": peers, "ports": [{"port": 53, "protocol": "UDP"}]}],
            }),
        )
    };
    Case {
        name: "blocks inside blocks",
        both_ways: false,
        from: with(&[policy(
            &json!([{"cidr": "192.168.0.0/16", "except": ["192.168.1.0/24"]}, {"cidr": "2001:db8::/32"}]),
        )]),
        to: with(&[policy(
            &json!([{"cidr": "192.168.1.0/24"}, {"cidr": "10.244.9.0/30"}, {"cidr": "2001:db8::/64"}]),
        )]),
        pods: PODS,
        grain: Grain::Pod,
    }
}

pub(super) fn policy_comes() -> Case {
    Case {
        name: "policy comes and goes",
        both_ways: true,
        from: with(&[]),
        to: with(&[policy(
            "p",
            &json!({
                "podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "192.168.1.0/24"}}], "ports": [{"port": 80}]}],
            }),
        )]),
        pods: PODS,
        grain: Grain::Pod,
    }
}

/// Of a pod here, which comes under another policy, and of one elsewhere, which the policy of the first names.
pub(super) fn labels() -> Case {
    let policies = [
        policy(
            "db",
            &json!({
                "podSelector": {"matchLabels": {"app": "db"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"tier": "front"}}}]}],
            }),
        ),
        policy(
            "web",
            &json!({
                "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
                "egress": [{"to": [{"ipBlock": {"cidr": "192.168.0.0/16"}}]}],
            }),
        ),
    ];
    let [db, web] = &policies;
    let far = |tier: &str| far("t", "a", &json!({"tier": tier}), &["10.244.9.1", "fd00:10:244:9::1"]);
    Case {
        name: "labels",
        both_ways: true,
        from: with(&[db.clone(), web.clone(), far("front"), pod("web", &json!({"app": "web"}))]),
        to: with(&[db.clone(), web.clone(), far("back"), pod("web", &json!({"app": "none"}))]),
        pods: PODS,
        grain: Grain::Connection,
    }
}

pub(super) fn namespace_labels() -> Case {
    let policy = policy(
        "p",
        &json!({
            "podSelector": {},
            "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"stage": "live"}}}]}],
        }),
    );
    Case {
        name: "labels of a namespace",
        both_ways: false,
        from: with(std::slice::from_ref(&policy)),
        to: with(&[policy, namespace("t", "test")]),
        pods: PODS,
        grain: Grain::Connection,
    }
}

pub(super) fn services() -> Case {
    let far = far("t", "a", &json!({"app": "far"}), &["10.244.9.1"]);
    Case {
        name: "Services",
        both_ways: true,
        from: with(&[service("s", SERVICES[0], "web", 8080), far.clone()]),
        to: with(&[service("s", SERVICES[0], "far", 8080), service("other", SERVICES[1], "far", 8081), far]),
        pods: PODS,
        grain: Grain::Connection,
    }
}

/// Policies of different pods, and a Service.
pub(super) fn several() -> Case {
    let policy = |name: &str, cidr: &str, port: u16| {
        policy(
            name,
            &json!({
                "podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": port}]}],
                "egress": [{"to": [{"ipBlock": {"cidr": cidr}}]}],
            }),
        )
    };
    Case {
        name: "several at once",
        both_ways: false,
        from: with(&[policy("db", "192.168.1.0/24", 80), policy("web", "0.0.0.0/0", 81)]),
        to: with(&[
            policy("db", "192.168.0.0/16", 81),
            policy("web", "10.0.0.0/8", 80),
            service("s", SERVICES[0], "db", 8080),
        ]),
        pods: PODS,
        grain: Grain::Connection,
    }
}

/// Another pod takes the name of one that the policy of the first knows.
pub(super) fn replaced_pod() -> Case {
    let policy = policy(
        "db",
        &json!({
            "podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
        }),
    );
    let with_port = |app: &str, port: u16| {
        let mut pod = pod("web", &json!({"app": app}));
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": port}]);
        pod
    };
    Case {
        name: "pod replaced",
        both_ways: true,
        from: with(&[policy.clone(), with_port("web", 5000)]),
        to: with(&[policy, with_port("none", 5001)]),
        pods: &["t/db"],
        grain: Grain::Nothing,
    }
}
