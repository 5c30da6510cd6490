use super::*;
use crate::source::manifests;

const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.1.0.1}], conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: slow-1, namespace: shop, labels: {app: slow}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {podIPs: [{ip: 10.1.0.2}], conditions: [{type: Ready, status: 'False'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
";

fn ask(more: &str, subject: &str) -> Vec<String> {
    let world: World = manifests(&format!("{CLUSTER}\n---\n{more}")).into_iter().collect();
    let found = why(&world, "n1", &subject.parse().unwrap()).expect("an object");
    found.into_iter().map(|f| format!("{}: {}: {}", f.severity.name(), f.about, f.reason)).collect()
}

fn service(spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: s, namespace: shop}}, spec: {{clusterIP: 10.96.0.2, {spec}}}}}"
    )
}

fn policy(spec: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: shop}}, spec: {{{spec}}}}}"
    )
}

#[test]
fn a_service_without_endpoints_says_why() {
    for (spec, wanted) in [
        (
            "selector: {app: webb}, ports: [{port: 80}]",
            "error: Service shop/s: has no endpoints: no pod matches its selector app=webb; pods of its namespace have app=slow, app=web",
        ),
        (
            "selector: {tier: x}, ports: [{port: 80}]",
            "error: Service shop/s: has no endpoints: no pod matches its selector tier=x; its namespace has 2 pods, none of which has these labels",
        ),
        (
            "selector: {app: slow}, ports: [{port: 80}]",
            "error: Service shop/s: has no endpoints: none of its pods is ready: shop/slow-1",
        ),
        (
            "selector: {app: web}, ports: [{port: 80, targetPort: https}]",
            "error: Service shop/s: port 80 goes to the TCP port named \"https\", which no container has in: shop/web-1",
        ),
        (
            "selector: {app: web}, internalTrafficPolicy: Local, ports: [{port: 80}]",
            "warning: Service shop/s: port 80 has no endpoint on this node, and internalTrafficPolicy: Local leaves only those: its pods are on n2",
        ),
        (
            "selector: {app: web}, type: NodePort, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]",
            "note: Service shop/s: clients outside who come by this node get no answer: externalTrafficPolicy: Local, and its pods are on n2",
        ),
        (
            "ports: [{port: 80}]",
            "error: Service shop/s: has no endpoints: no selector, and no EndpointSlice lists any",
        ),
        (
            "type: ExternalName, externalName: db.test",
            "note: Service shop/s: is a name in DNS (db.test): no node balances it",
        ),
    ] {
        assert_eq!(ask(&service(spec), "service/shop/s")[0], wanted);
    }
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e, namespace: shop,
        labels: {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: [], ports: []}";
    let wanted = "error: Service shop/web: port 80 has no endpoints: its EndpointSlices list nobody who is ready, while its selector matches 1 pod";
    assert_eq!(ask(slice, "svc/shop/web"), [wanted]);
}

#[test]
fn a_service_that_answers_says_so_and_who_may_reach_it() {
    assert_eq!(
        ask("", "service/shop/web"),
        ["note: Service shop/web: nothing is wrong: it selects 1 pod, and no policy isolates them"]
    );
    assert_eq!(
        ask(&policy("podSelector: {}"), "service/shop/web"),
        [
            "error: Pod shop/web-1: nobody may reach it: isolated for ingress by shop/p, none of which has a rule"
        ]
    );
    let nobody = policy("podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: x}}}]}]");
    assert_eq!(
        ask(&nobody, "service/shop/web"),
        [
            "error: Pod shop/web-1: nobody may reach it: isolated for ingress by shop/p, whose rules match no pod"
        ]
    );
    let some = policy(
        "podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: slow}}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80}]}]",
    );
    assert_eq!(
        ask(&some, "service/shop/web"),
        [
            "note: Pod shop/web-1: only these may reach it, isolated for ingress by shop/p: pods with app=slow of its namespace or \
          10.0.0.0/8 except 10.1.0.0/16, TCP 80 (shop/p spec.ingress[0])"
        ]
    );
}

#[test]
fn a_policy_says_what_of_it_does_nothing() {
    let idle = policy(
        "podSelector: {matchLabels: {app: gone}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}}]}]",
    );
    assert_eq!(
        ask(&idle, "netpol/shop/p")[..2],
        [
            "warning: NetworkPolicy shop/p: selects nothing: no pod of its namespace has app=gone",
            "warning: NetworkPolicy shop/p: spec.ingress[0].from[0] matches nobody: there is none among all pods of namespaces with team=x",
        ]
    );
    let named =
        policy("podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: https}, {port: http}]}]");
    assert_eq!(
        ask(&named, "networkpolicy/shop/p")[0],
        "warning: NetworkPolicy shop/p: spec.ingress[0].ports[0] allows nothing: none of the 1 pod that it is for has a TCP port named \"https\""
    );
    let broken = policy(
        "podSelector: {}, policyTypes: [Egress], ingress: [{}], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/33}}]}]",
    );
    let said = ask(&broken, "networkpolicy/shop/p");
    assert!(
        said[0].starts_with("error: NetworkPolicy shop/p: spec.egress[0].to[0].ipBlock.cidr: "),
        "{said:?}"
    );
    assert!(
        said.iter().any(|line| line.contains("has rules for ingress that count for nothing")),
        "{said:?}"
    );
}

#[test]
fn a_pod_says_who_may_reach_it_and_whom_it_may_reach() {
    let egress = policy("podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]");
    assert_eq!(
        ask(&egress, "pod/shop/web-1"),
        [
            "note: Pod shop/web-1: anybody may reach it: no policy isolates it for ingress",
            "error: Pod shop/web-1: it may reach nobody: isolated for egress by shop/p, none of which has a rule",
        ]
    );
}

#[test]
fn subjects_are_named_as_kubectl_does_and_others_are_refused() {
    let name = Name::new("shop", "web");
    for (text, wanted) in [
        ("service/shop/web", Subject::Service(name.clone())),
        ("po/shop/web", Subject::Pod(name.clone())),
        ("netpol/shop/web", Subject::Policy(name)),
    ] {
        assert_eq!(text.parse(), Ok(wanted));
    }
    for wrong in ["shop/web", "node/shop/web", "pod//web", "pod/shop/web/x"] {
        assert!(wrong.parse::<Subject>().is_err(), "{wrong}");
    }
    assert_eq!(why(&World::default(), "n1", &"pod/a/b".parse().unwrap()), None);
}

#[test]
fn the_cluster_as_a_whole_is_what_is_wrong_with_anything() {
    let broken = format!(
        "{}\n---\n{}",
        service("selector: {app: x}, ports: [{port: 80}]"),
        policy("podSelector: {matchLabels: {app: z}}")
    );
    let world: World = manifests(&format!("{CLUSTER}\n---\n{broken}")).into_iter().collect();
    let about: Vec<String> = cluster(&world, "n1").into_iter().map(|finding| finding.about).collect();
    assert_eq!(about, ["Service shop/s", "NetworkPolicy shop/p"]);
}
