use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use netpol_common::{endpoint::flags, service::flags::SOURCE_RANGES};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    dataplane::{
        Capacity, Error, Grace, Op, Rows,
        fake::Fake,
        kernel::{Look, Unpoliced},
    },
    engine::Engine,
    model::Manifest,
    runtime::{Status, health::Checks},
};

/// The fake, still to be looked at while the loop has it.
#[derive(Clone)]
struct Shown(Arc<Mutex<Inner>>, Arc<Gate>);

/// Holds grace periods.
#[derive(Default)]
struct Gate {
    /// How many have begun, and how many are over.
    counts: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Gate {
    fn let_one_end(&self) {
        self.counts.lock().unwrap().1 += 1;
        self.changed.notify_all();
    }
}

struct Inner {
    fake: Fake,
    ops: Vec<Op>,
    /// Operations that are still to fail.
    failures: usize,
    /// What load balancers are told, to be looked at after each operation.
    told: Option<watch::Receiver<Checks>>,
    /// Whether there are backends, and how many a load balancer is told of.
    seen: Vec<(bool, usize)>,
}

impl Shown {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Dataplane for Shown {
    fn read(&self) -> Result<Rows, Error> {
        self.inner().fake.read()
    }
    fn capacity(&self) -> Capacity {
        self.inner().fake.capacity()
    }
    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        let mut inner = self.inner();
        if let Some(left) = inner.failures.checked_sub(1) {
            inner.failures = left;
            return Err(Error { call: "update", map: "any".into(), source: "refused".into() });
        }
        inner.fake.apply(op)?;
        inner.ops.push(op.clone());
        let told = inner.told.as_ref().map(|told| told.borrow().ready.values().sum());
        let local = inner.fake.rows().services.values().any(|row| row.n_local() > 0);
        inner.seen.extend(told.map(|told| (local, told)));
        Ok(())
    }
    fn grace(&self) -> Grace {
        let gate = self.1.clone();
        let number = {
            let mut counts = gate.counts.lock().unwrap();
            counts.0 += 1;
            counts.0
        };
        Box::new(move || {
            let counts = gate.counts.lock().unwrap();
            // A test that has failed does not let it end.
            let patience = Duration::from_secs(20);
            drop(gate.changed.wait_timeout_while(counts, patience, |(_, over)| *over < number).unwrap());
            Ok(())
        })
    }
}

impl Epoch for Shown {
    fn epoch(&self) -> u32 {
        self.inner().fake.epoch()
    }
}

struct Bench {
    dataplane: Shown,
    shared: Shared,
    source: mpsc::Sender<Vec<SourceEvent>>,
    changes: mpsc::UnboundedSender<Change>,
    _loop: JoinHandle<Ended>,
}

const CAPACITY: Capacity = Capacity {
    ports: 99,
    policy: 99,
    cidrs: 99,
    peers: 99,
    endpoints: 99,
    frontends: 99,
    services: 99,
    backends: 99,
    members: 99,
    ranges: 99,
    service_nets: 99,
    cluster: 99,
};

impl Bench {
    fn start(failures: usize) -> Self {
        let inner =
            Inner { fake: Fake::new(CAPACITY), ops: Vec::new(), failures, told: None, seen: Vec::new() };
        let dataplane = Shown(Arc::new(Mutex::new(inner)), Arc::default());
        let engine = Engine::new("node1", CAPACITY, dataplane.read().unwrap());
        let (look, mut looks) = Look::channel();
        tokio::spawn(async move {
            while let Some(done) = looks.recv().await {
                done.send(()).unwrap();
            }
        });
        let (shared, asked) = Shared::new(engine, look, Unpoliced::default());
        let (source, batches) = mpsc::channel(8);
        let (changes, receiver) = mpsc::unbounded_channel();
        let reconciler = Reconciler::new(shared.clone(), dataplane.clone());
        let _loop = tokio::spawn(reconciler.run(batches, Vec::new(), receiver, asked));
        Self { dataplane, shared, source, changes, _loop }
    }

    async fn send(&self, events: Vec<SourceEvent>) {
        self.source.send(events).await.unwrap();
    }

    /// Without asking, which would have the loop do at once what it can put off.
    async fn until(&self, wanted: impl Fn(&Rows) -> bool) {
        let seen = async {
            while !wanted(self.dataplane.inner().fake.rows()) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(5), seen).await.expect("within five seconds");
    }

    fn change(&self, change: Change) {
        self.changes.send(change).unwrap();
    }

    fn endpoint(&self, ifindex: u32) -> Option<u32> {
        self.dataplane.inner().fake.rows().endpoints.get(&ifindex).map(|row| row.flags)
    }
}

fn pod(name: &str, address: &str) -> SourceEvent {
    let pod = json!({
        "metadata": {"name": name, "namespace": "t"},
        "spec": {"nodeName": "node1", "containers": []},
        "status": {"podIPs": [{"ip": address}], "phase": "Running"},
    });
    SourceEvent::Apply {
        manifest: Manifest::Pod(serde_json::from_value(pod).unwrap()),
        origin: "test".into(),
    }
}

fn interface(ifindex: u32, address: &str) -> Interface {
    Interface {
        ifindex,
        name: format!("veth{ifindex}"),
        netns: "ns".into(),
        addresses: vec![address.parse().unwrap()],
        master: 0,
        adopting: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_opened_when_object_and_interface_are_known_and_the_source_has_delivered() {
    let bench = Bench::start(0);
    bench.change(Change::Up(interface(5, "10.0.0.5")));
    bench.send(vec![pod("a", "10.0.0.5")]).await;
    assert!(bench.shared.caught_up().await);
    assert_eq!(bench.endpoint(5), None, "the source may hold a policy yet");
    assert!(!bench.shared.status().in_sync);
    bench.send(vec![SourceEvent::Synced]).await;
    assert!(bench.shared.caught_up().await);
    assert_eq!(bench.endpoint(5).unwrap() & flags::READY, flags::READY);
    assert!(bench.shared.status().in_sync);
    assert_eq!(bench.shared.world().pods.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_fails_is_shown_and_repeated() {
    let bench = Bench::start(3);
    bench.change(Change::Up(interface(5, "10.0.0.5")));
    bench.send(vec![pod("a", "10.0.0.5"), SourceEvent::Synced]).await;
    let until = async |wanted: fn(&Status) -> bool| {
        let seen = async {
            while !wanted(&bench.shared.status()) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(5), seen).await.unwrap();
    };
    until(|status| status.failure.as_deref() == Some("update on any: refused") && !status.in_sync).await;
    until(|status| status.in_sync).await;
    assert_eq!(bench.shared.status().failure, None);
    assert!(bench.endpoint(5).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_goes_to_another_interface_at_once_has_its_row_written_anew() {
    let bench = Bench::start(0);
    bench.change(Change::Up(interface(5, "10.0.0.5")));
    bench.send(vec![pod("a", "10.0.0.5"), SourceEvent::Synced]).await;
    assert!(bench.shared.caught_up().await);
    bench.dataplane.inner().ops.clear();
    bench.change(Change::Gone(5));
    bench.change(Change::Up(interface(5, "10.0.0.5")));
    assert!(bench.shared.caught_up().await);
    let ops = std::mem::take(&mut bench.dataplane.inner().ops);
    let deleted = ops.iter().position(|op| matches!(op, Op::DeleteEndpoint(5)));
    let put = ops.iter().position(|op| matches!(op, Op::PutEndpoint(5, _)));
    assert!(deleted.is_some() && put > deleted, "{ops:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_are_told_of_the_last_backend_before_it_goes_and_of_the_first_after_it_is_there() {
    let bench = Bench::start(0);
    let service = json!({
        "metadata": {"name": "web", "namespace": "t"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.1", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 32_000, "ports": [{"port": 80, "nodePort": 30_080}], "selector": {},
        },
    });
    let node = json!({
        "metadata": {"name": "node1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    });
    let slice = |conditions: serde_json::Value| {
        let slice = json!({
            "metadata": {"name": "web-1", "namespace": "t", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.5"], "nodeName": "node1", "conditions": conditions}],
        });
        apply(Manifest::EndpointSlice(serde_json::from_value(slice).unwrap()))
    };
    let objects = vec![
        apply(Manifest::Service(serde_json::from_value(service).unwrap())),
        apply(Manifest::Node(serde_json::from_value(node).unwrap())),
        SourceEvent::Synced,
    ];
    bench.send(objects).await;
    assert!(bench.shared.caught_up().await);
    let told = bench.shared.told().listen();
    let now = || told.borrow().ready.values().copied().collect::<Vec<usize>>();
    assert_eq!(now(), [0]);
    bench.dataplane.inner().told = Some(bench.shared.told().listen());

    bench.send(vec![slice(json!({"ready": true}))]).await;
    assert!(bench.shared.caught_up().await);
    assert_eq!(now(), [1]);
    let seen = std::mem::take(&mut bench.dataplane.inner().seen);
    assert!(seen.contains(&(true, 0)) && seen.iter().all(|(_, told)| *told == 0), "{seen:?}");

    bench.send(vec![slice(json!({"ready": false, "serving": false}))]).await;
    assert!(bench.shared.caught_up().await);
    let seen = std::mem::take(&mut bench.dataplane.inner().seen);
    assert!(seen.contains(&(true, 0)) && seen.iter().all(|(_, told)| *told == 0), "{seen:?}");

    // About to end and still serving: the load balancer is sent away while packets that still come are answered.
    bench.send(vec![slice(json!({"ready": false, "serving": true, "terminating": true}))]).await;
    assert!(bench.shared.caught_up().await);
    assert_eq!(now(), [0]);
    assert!(bench.dataplane.inner().fake.rows().services.values().any(|row| row.n_local() == 1));
}

fn apply(manifest: Manifest) -> SourceEvent {
    SourceEvent::Apply { manifest, origin: "test".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_ends_with_its_source() {
    let Bench { source, _loop, changes, .. } = Bench::start(0);
    drop(source);
    assert_eq!(_loop.await.unwrap(), Ended::Source);
    assert!(changes.is_closed());
}

/// A Service that lets in a prefix, or everybody, and its endpoint.
fn balanced(range: Option<&str>, endpoint: &str) -> Vec<SourceEvent> {
    let service = json!({
        "metadata": {"name": "web", "namespace": "t"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{"port": 80}],
            "loadBalancerSourceRanges": Vec::from_iter(range),
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}},
    });
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "t", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [{"addresses": [endpoint], "conditions": {"ready": true}}],
    });
    vec![
        apply(Manifest::Service(serde_json::from_value(service).unwrap())),
        apply(Manifest::EndpointSlice(serde_json::from_value(slice).unwrap())),
    ]
}

fn leads_to(rows: &Rows, endpoint: &str) -> bool {
    let endpoint: std::net::IpAddr = endpoint.parse().unwrap();
    !rows.backends.is_empty() && rows.backends.values().flatten().all(|backend| backend.addr == endpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_does_not_wait_for_the_packets_of_the_one_before() {
    let bench = Bench::start(0);
    bench.send([balanced(Some("198.51.100.0/24"), "10.0.0.1"), vec![SourceEvent::Synced]].concat()).await;
    assert!(bench.shared.caught_up().await);
    let lets_in = |rows: &Rows| !rows.ranges.is_empty();
    assert!(lets_in(bench.dataplane.inner().fake.rows()));

    // Packets may be asking for the prefix until a grace period is over, which is held up here.
    bench.send(balanced(None, "10.0.0.1")).await;
    bench.until(|rows| rows.frontends.values().all(|row| row.flags & SOURCE_RANGES == 0)).await;
    bench.send(balanced(None, "10.0.0.2")).await;
    bench.until(|rows| leads_to(rows, "10.0.0.2") && lets_in(rows)).await;
    assert_eq!(bench.dataplane.1.counts.lock().unwrap().0, 1);

    // The first one began too early for the second change.
    bench.dataplane.1.let_one_end();
    let another = async {
        while bench.dataplane.1.counts.lock().unwrap().0 < 2 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(5), another).await.unwrap();
    assert!(lets_in(bench.dataplane.inner().fake.rows()));
    bench.dataplane.1.let_one_end();
    bench.until(|rows| !lets_in(rows)).await;
    assert!(bench.shared.status().in_sync);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_finds_nothing_put_off() {
    let bench = Bench::start(0);
    bench.send([balanced(Some("198.51.100.0/24"), "10.0.0.1"), vec![SourceEvent::Synced]].concat()).await;
    assert!(bench.shared.caught_up().await);
    bench.send(balanced(None, "10.0.0.1")).await;
    bench.until(|rows| rows.frontends.values().all(|row| row.flags & SOURCE_RANGES == 0)).await;
    assert!(bench.shared.caught_up().await);
    assert!(bench.dataplane.inner().fake.rows().ranges.is_empty());
    bench.dataplane.1.let_one_end();
}
