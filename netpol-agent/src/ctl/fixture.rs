//! A small shop on two nodes, compiled by the real engine onto a dataplane in memory.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{
    ExplainError, Knowledge, Measures, Numbers, PastError, State,
    api::{
        Checked, EndpointView, ExplainRequest, Explanation, Memory, PolicyView, ServiceView, SimulateRequest,
        Simulated, Status, SuggestRequest, Suggested,
    },
    endpoint_counts, explain, render_metrics, simulated, suggested, table_fills,
};
use crate::{
    dataplane::{Capacity, Dataplane, Interface, fake::Fake},
    diagnose::{self, Finding, Subject},
    engine::Engine,
    flow::{FlowMetrics, FlowStore, tests_support::sample},
    history::recall,
    model::{self, Level, Name, Problem},
    oracle::World,
    recorder::Counts,
    source::{Phase, Watches, manifests},
};

const SHOP: &str = "
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.244.1.10}, {ip: 'fd00::10'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 5432}]}]}
status: {podIPs: [{ip: 10.244.1.20}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: shop}
spec: {nodeName: n2, containers: [{name: c}]}
status: {podIPs: [{ip: 10.244.2.5}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db-ingress, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: db}, ports: [{port: 80, targetPort: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: idle, namespace: shop}
spec: {clusterIP: 10.96.0.10, selector: {app: nobody}, ports: [{port: 80}, {port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
";

/// An agent of node `n1` that has everything in force.
pub(crate) struct Fixture {
    engine: Engine,
    dataplane: Fake,
    world: World,
    pub(crate) flows: Arc<FlowStore>,
    watches: Watches,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let all = manifests(SHOP);
        let many = 1000;
        let capacity = Capacity {
            ports: many,
            policy: many,
            cidrs: many,
            peers: many,
            endpoints: many,
            frontends: many,
            services: many,
            backends: many,
            members: many,
            ranges: many,
            service_nets: many,
            cluster: many,
        };
        let mut dataplane = Fake::new(capacity);
        let mut engine = Engine::new("n1", capacity, dataplane.read().unwrap());
        for manifest in &all {
            engine.apply(model::convert(manifest, "shop.yaml"));
        }
        let interface = |ifindex: u32, name: &str, addresses: &[&str]| Interface {
            ifindex,
            name: name.into(),
            netns: name.into(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            master: 0,
            adopting: false,
        };
        engine.interface_up(interface(11, "veth-web", &["10.244.1.10", "fd00::10"]));
        engine.interface_up(interface(12, "veth-db", &["10.244.1.20"]));
        engine.synced();
        loop {
            let plan = engine.plan();
            assert_eq!(plan.refusals, []);
            if plan.ops.is_empty() {
                break;
            }
            for op in &plan.ops {
                dataplane.apply(op).unwrap();
                engine.applied(op);
            }
        }
        let flows = FlowStore::new(100, |_| {});
        flows.add(sample());
        let watches = Watches::default();
        for kind in ["Namespace", "Node", "Pod", "Service", "NetworkPolicy", "EndpointSlice", "ServiceCIDR"] {
            watches.enter(kind, Phase::Watching);
        }
        Self { engine, dataplane, world: all.into_iter().collect(), flows, watches }
    }

    /// The same, but somebody has emptied a map behind the agent's back.
    pub(crate) fn without_rows_of_policies(mut self) -> Self {
        let keys: Vec<_> = self.dataplane.rows().policy.keys().copied().collect();
        for key in keys {
            self.dataplane.apply(&crate::dataplane::Op::DeletePolicy(key)).unwrap();
        }
        self
    }

    pub(crate) fn ask(&self, from: &str, to: &str, port: Option<u16>) -> Result<Explanation, ExplainError> {
        self.explain(&ExplainRequest { from: from.into(), to: to.into(), port, protocol: String::new() })
    }
}

impl State for Fixture {
    fn node(&self) -> &str {
        "n1"
    }
    async fn status(&self) -> Status {
        let endpoints = self.engine.endpoints();
        Status {
            node: self.node().to_owned(),
            version: "0.1.0".into(),
            abi: 1,
            source: "dir:/manifests".into(),
            synced: true,
            in_sync: true,
            epoch: self.dataplane.epoch(),
            endpoints: endpoint_counts(&endpoints),
            policies: self.engine.policies().len(),
            services: self.engine.services().len(),
            tables: table_fills(
                self.dataplane.rows().counts(),
                &self.dataplane.capacity(),
                [(3, 100), (0, 100)],
                &[("np_ct4", 40 << 20), ("np_ct6", 50 << 20), ("np_peer4", 3 << 19), ("np_port", 1 << 10)]
                    .into(),
            ),
            memory: Memory { agent: 60 << 20, maps: 100 << 20, node: 8 << 30 },
            flows: self.flows.counts(),
            problems: vec![Problem {
                level: Level::Error,
                origin: "broken.yaml".into(),
                field: "line 3, column 1".into(),
                message: "unclosed quote".into(),
                ..Problem::default()
            }],
            ..Status::default()
        }
    }
    fn endpoints(&self) -> Vec<EndpointView> {
        self.engine.endpoints()
    }
    fn policies(&self) -> Vec<PolicyView> {
        self.engine.policies()
    }
    fn policy(&self, name: &Name) -> Option<NetworkPolicy> {
        let is_it = |policy: &&NetworkPolicy| {
            policy.metadata.namespace.as_deref() == Some(&name.namespace)
                && policy.metadata.name.as_deref() == Some(&name.name)
        };
        self.world.policies.iter().find(is_it).cloned()
    }
    fn services(&self) -> Vec<ServiceView> {
        self.engine.services()
    }
    fn metrics(&self) -> String {
        render_metrics(&Numbers {
            endpoints: &self.engine.endpoints(),
            overdue: 0,
            policies_refused: 0,
            counters: &[],
            connections: [(3, 100), (0, 100)],
            rows: self.dataplane.rows().counts(),
            capacity: &self.dataplane.capacity(),
            epoch: self.dataplane.epoch(),
            memory: Memory { agent: 60 << 20, maps: 100 << 20, node: 8 << 30 },
            in_sync: true,
            xdp: [("native", 1), ("generic", 0)],
            xdp_frames: 7,
            ready: true,
            problems: &[(Level::Error, 1)].into(),
            watches: &self.watches.all(),
            events: Counts::default().all(),
            measures: &Measures::default(),
            flows: &FlowMetrics::default(),
        })
    }
    async fn check(&self) -> Checked {
        let status = self.status().await;
        let mut findings = diagnose::node(&status, &self.endpoints());
        findings.extend(diagnose::cluster(&self.world, "n1"));
        Checked { status, interfaces: Vec::new(), findings }
    }
    fn why(&self, subject: &Subject) -> Option<Vec<Finding>> {
        diagnose::why(&self.world, "n1", subject)
    }
    fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ExplainError> {
        let (rows, names) = (self.dataplane.rows(), self.engine.attribution());
        explain(request, Knowledge { world: &self.world, node: "n1", rows, names })
    }
    fn simulate(&self, request: &SimulateRequest) -> Result<Simulated, PastError> {
        simulated(request, &self.world, recall(None, &self.flows, request.since))
    }
    fn suggest(&self, request: &SuggestRequest) -> Result<Suggested, PastError> {
        suggested(request, &self.world, recall(None, &self.flows, request.since))
    }
    fn flows(&self) -> &Arc<FlowStore> {
        &self.flows
    }
}
