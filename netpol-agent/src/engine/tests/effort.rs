//! What an event takes does not grow with the cluster: the rows that are written, and how often a selector is held against labels.

use std::collections::BTreeMap;

use super::{Bed, ROOMY, pod, policy};
use crate::{dataplane::Capacity, model::asked};

/// Rows by map, and how often a selector was asked.
type Effort = (BTreeMap<&'static str, usize>, usize);

/// Namespaces beside the one in which something happens.
const SIZES: [usize; 3] = [5, 50, 500];

const CAPACITY: Capacity = Capacity {
    ports: 65_536,
    policy: 65_536,
    peers: 65_536,
    endpoints: 4096,
    frontends: 4096,
    services: 4096,
    backends: 65_536,
    members: 65_536,
    ..ROOMY
};

/// A shop whose database and backend are on this node, beside `others` namespaces that each have a pod here, two elsewhere, a policy that
/// isolates the one here and a Service.
fn cluster(others: usize) -> Bed {
    let mut bed = Bed::with(CAPACITY);
    let mut yaml = "{apiVersion: v1, kind: Node, metadata: {name: node1, labels: {topology.kubernetes.io/zone: a}}}\n---\n".to_owned();
    bed.up(2, &["10.1.0.1"]).up(3, &["10.1.0.2"]);
    yaml += &namespace("shop", "{team: shop}");
    yaml += &pod("shop/db", "node1", "{app: db}", &["10.1.0.1"], "");
    yaml += &pod("shop/backend", "node1", "{app: backend}", &["10.1.0.2"], "");
    for i in 0..8 {
        yaml += &pod(&format!("shop/web-{i}"), "node2", "{app: web}", &[&format!("10.1.1.{i}")], "");
    }
    yaml += &policy("shop/db", &db("web"));
    yaml += &service(80);
    yaml += &slice(&[0, 1, 2]);
    for n in 0..others {
        let (team, block) = (format!("team-{n}"), format!("10.{}.{}", 2 + n / 200, n % 200));
        bed.up(10 + n as u32, &[&format!("{block}.1")]);
        yaml += &namespace(&team, &format!("{{team: '{n}'}}"));
        yaml += &pod(&format!("{team}/here"), "node1", "{app: here}", &[&format!("{block}.1")], "");
        yaml += &pod(&format!("{team}/web"), "node2", "{app: web}", &[&format!("{block}.2")], "");
        yaml += &pod(&format!("{team}/other"), "node3", "{app: other}", &[&format!("{block}.3")], "");
        yaml += &policy(
            &format!("{team}/here"),
            &format!(
                "{{podSelector: {{matchLabels: {{app: here}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: web}}}}, \
                 namespaceSelector: {{matchLabels: {{team: '{n}'}}}}}}], ports: [{{port: {}}}]}}]}}",
                1000 + n
            ),
        );
        yaml += &format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: {team}, name: web}}, spec: {{clusterIP: 10.96.{}.{}, selector: \
             {{app: web}}, ports: [{{port: 80}}]}}}}\n---\n",
            1 + n / 200,
            n % 200
        );
    }
    bed.apply(&yaml);
    bed
}

fn namespace(name: &str, labels: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {labels}}}}}\n---\n")
}

fn db(from: &str) -> String {
    format!(
        "{{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {from}}}}}}}], ports: \
         [{{port: 5432}}]}}]}}"
    )
}

fn service(port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: web}}, spec: {{clusterIP: 10.96.0.1, ports: [{{port: \
         {port}, targetPort: 8080}}]}}}}\n---\n"
    )
}

fn slice(webs: &[usize]) -> String {
    let endpoints: Vec<String> = webs.iter().map(|i| format!("{{addresses: [10.1.1.{i}]}}")).collect();
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{namespace: shop, name: web-1, labels: \
         {{kubernetes.io/service-name: web}}}}, addressType: IPv4, endpoints: [{}], ports: [{{port: 8080}}]}}\n---\n",
        endpoints.join(", ")
    )
}

/// What happens.
type Event = Box<dyn Fn(&mut Bed)>;

fn events() -> Vec<(&'static str, Event)> {
    fn feed(yaml: impl Into<String>) -> Event {
        let yaml = yaml.into();
        Box::new(move |bed| bed.feed(&yaml))
    }
    fn delete(kind: &'static str, name: &'static str) -> Event {
        Box::new(move |bed| {
            bed.engine.delete(&crate::model::ObjectRef {
                kind: kind.into(),
                namespace: "shop".into(),
                name: name.into(),
            });
        })
    }
    vec![
        ("a pod more elsewhere", feed(pod("shop/web-8", "node2", "{app: web}", &["10.1.1.8"], ""))),
        ("another label", feed(pod("shop/web-8", "node2", "{app: web, tier: x}", &["10.1.1.8"], ""))),
        ("a label that counts", feed(pod("shop/web-8", "node2", "{app: job}", &["10.1.1.8"], ""))),
        ("another address", feed(pod("shop/web-8", "node2", "{app: job}", &["10.1.1.9"], ""))),
        ("a pod less elsewhere", delete("Pod", "web-8")),
        ("a pod more here", feed(pod("shop/job", "node1", "{app: job}", &["10.1.0.3"], ""))),
        ("its interface", Box::new(|bed| bed.engine.interface_up(super::interface(4, &["10.1.0.3"])))),
        ("the interface gone", Box::new(|bed| bed.engine.interface_gone(4))),
        ("a pod less here", delete("Pod", "job")),
        (
            "a policy more",
            feed(policy("shop/backend", "{podSelector: {matchLabels: {app: backend}}, ingress: []}")),
        ),
        ("a policy less", delete("NetworkPolicy", "backend")),
        ("other peers", feed(policy("shop/db", &db("backend")))),
        ("the peers back", feed(policy("shop/db", &db("web")))),
        ("a namespace's label", feed(namespace("shop", "{team: shop, env: prod}"))),
        ("a namespace more", feed(namespace("new", "{team: new}"))),
        ("an endpoint more", feed(slice(&[0, 1, 2, 3]))),
        ("an endpoint less", feed(slice(&[0, 2, 3]))),
        ("another port", feed(service(81))),
        ("a Service less", delete("Service", "web")),
        ("a Service more", feed(service(80))),
        ("the same again", feed(service(80))),
    ]
}

fn efforts(others: usize) -> Vec<(&'static str, Effort)> {
    let mut bed = cluster(others);
    let mut efforts = Vec::new();
    for (name, event) in events() {
        asked::take();
        event(&mut bed);
        let rows = bed.settle();
        efforts.push((name, (rows, asked::take())));
    }
    efforts
}

#[test]
fn what_an_event_takes_is_the_same_in_a_cluster_a_hundred_times_as_large() {
    let [small, medium, large] = SIZES.map(efforts);
    for (((name, small), (_, medium)), (_, large)) in small.iter().zip(&medium).zip(&large) {
        assert_eq!(small, medium, "{name}: {} and {} namespaces", SIZES[0], SIZES[1]);
        assert_eq!(small, large, "{name}: {} and {} namespaces", SIZES[0], SIZES[2]);
    }
    let most = small.iter().map(|(_, (_, asked))| *asked).max();
    assert!(most.is_some_and(|most| most > 0), "selectors are counted");
    assert!(small.iter().any(|(_, (rows, _))| !rows.is_empty()), "rows are counted");
}
