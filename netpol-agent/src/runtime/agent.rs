use std::{collections::BTreeMap, io, sync::Arc};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_common::{stats::Counter, version::ABI_VERSION};

use super::Shared;
use crate::{
    ctl::{
        self, ExplainError, Knowledge, PastError, State,
        api::{
            Checked, EndpointView, ExplainRequest, Explanation, Memory, PolicyView, ServiceView,
            SimulateRequest, Simulated, Status, SuggestRequest, Suggested,
        },
    },
    dataplane::{
        Capacity,
        kernel::{self, AcrossStates, MapMemory, Stats, XdpCounter, XdpMode, XdpStates},
    },
    diagnose::{self, Finding, Subject},
    flow::{FlowMetrics, FlowStore},
    history::{History, recall},
    model::{Name, ObjectRef},
    recorder::Counts,
    source::{Rescan, Watches},
};

/// The running agent, as the control socket and the page see it.
pub(super) struct Agent {
    pub(super) node: String,
    pub(super) source: String,
    pub(super) attach: &'static str,
    pub(super) pin_dir: String,
    pub(super) shared: Shared,
    pub(super) rescan: Rescan,
    pub(super) watches: Watches,
    pub(super) events: Counts,
    pub(super) capacity: Capacity,
    pub(super) maps: MapMemory,
    pub(super) node_services: String,
    pub(super) xdp: XdpStates,
    pub(super) xdp_sent: XdpCounter,
    pub(super) across: AcrossStates,
    pub(super) stats: Stats,
    pub(super) records: Arc<FlowStore>,
    pub(super) flow_metrics: Arc<FlowMetrics>,
    pub(super) history: Option<Arc<History>>,
}

impl Agent {
    pub(super) fn counters(&self) -> Vec<Counter> {
        self.stats.read().unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "reading the counters");
            Vec::new()
        })
    }
}

impl Agent {
    fn frames(&self) -> u64 {
        self.xdp_sent.read().unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "reading a counter");
            0
        })
    }
}

impl Agent {
    /// What netpol takes, and what each map.
    fn memory(&self) -> (Memory, BTreeMap<&'static str, u64>) {
        fn told<T: Default>(what: &str, answer: io::Result<T>) -> T {
            answer.unwrap_or_else(|error| {
                tracing::error!(%error, "asking for memory: {what}");
                T::default()
            })
        }
        let maps = told("maps", self.maps.read());
        let memory = Memory {
            agent: told("agent", kernel::resident()),
            maps: maps.values().sum(),
            node: told("node", kernel::of_node()),
        };
        (memory, maps)
    }
}

impl State for Agent {
    fn node(&self) -> &str {
        &self.node
    }

    async fn status(&self) -> Status {
        // Before what waits is carried out: what they have told is in force when the answer says so.
        let watches = self.watches.all();
        let caught_up = self.rescan.now().await && self.shared.caught_up().await;
        let now = self.shared.status();
        let counters = self.counters();
        let (memory, maps) = self.memory();
        let mut problems = self.shared.problems();
        problems.extend(self.xdp.problems());
        let endpoints = self.shared.endpoints();
        let engine = self.shared.engine();
        let refusals = now.refusals.iter().map(ToString::to_string).chain(now.failure);
        Status {
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            abi: ABI_VERSION,
            source: self.source.clone(),
            attach: self.attach.to_owned(),
            pin_dir: self.pin_dir.clone(),
            watches: ctl::watch_views(watches),
            synced: now.synced,
            in_sync: caught_up && now.in_sync,
            epoch: now.epoch,
            endpoints: ctl::endpoint_counts(&endpoints),
            policies: engine.policy_count(),
            services: engine.service_count(),
            node_services: self.node_services.clone(),
            external_mode: engine.external_mode(),
            across_nodes: self.across.summary(),
            xdp: self.xdp.summary(),
            xdp_frames: self.frames(),
            tables: ctl::table_fills(
                engine.row_counts(),
                &self.capacity,
                now.connections.map(|fill| (fill.entries, fill.capacity)),
                &maps,
            ),
            memory,
            packets: ctl::packet_counters(&counters),
            counters: ctl::event_counters(&counters),
            flows: self.records.counts(),
            refusals: refusals.collect(),
            problems,
        }
    }

    fn endpoints(&self) -> Vec<EndpointView> {
        self.shared.endpoints()
    }

    fn policies(&self) -> Vec<PolicyView> {
        let mut policies = self.shared.engine().policies();
        // Those of the objects that the engine was given are in it already.
        let problems = self.shared.status().problems;
        for policy in &mut policies {
            let is_its = |object: &ObjectRef| {
                object.kind == "NetworkPolicy"
                    && *object.namespace == *policy.policy.namespace
                    && *object.name == *policy.policy.name
            };
            policy.problems += problems.iter().filter(|p| p.object.as_ref().is_some_and(is_its)).count();
        }
        policies
    }

    fn policy(&self, name: &Name) -> Option<NetworkPolicy> {
        self.shared.policy(name)
    }

    fn services(&self) -> Vec<ServiceView> {
        self.shared.engine().services()
    }

    async fn check(&self) -> Checked {
        let status = self.status().await;
        let endpoints = self.shared.endpoints();
        let mut findings = diagnose::node(&status, &endpoints);
        findings.extend(diagnose::cluster(&self.shared.world(), &self.node));
        let interface = |endpoint: &EndpointView| Some((endpoint.ifindex?, endpoint.interface.clone()?));
        Checked { status, interfaces: endpoints.iter().filter_map(interface).collect(), findings }
    }

    fn why(&self, subject: &Subject) -> Option<Vec<Finding>> {
        diagnose::why(&self.shared.world(), &self.node, subject)
    }

    fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ExplainError> {
        let world = self.shared.world();
        let engine = self.shared.engine();
        let known = Knowledge {
            world: &world,
            node: &self.node,
            rows: &engine.actual(),
            names: engine.attribution(),
        };
        ctl::explain(request, known)
    }

    fn metrics(&self) -> String {
        let now = self.shared.status();
        let endpoints = self.shared.endpoints();
        let counters = self.counters();
        let engine = self.shared.engine();
        let numbers = ctl::Numbers {
            endpoints: &endpoints,
            overdue: now.overdue.len(),
            policies_refused: engine.refused_count(),
            counters: &counters,
            memory: self.memory().0,
            connections: now.connections.map(|fill| (fill.entries, fill.capacity)),
            rows: engine.row_counts(),
            capacity: &self.capacity,
            epoch: now.epoch,
            in_sync: now.in_sync,
            xdp: [XdpMode::Native, XdpMode::Generic].map(|mode| (mode.name(), self.xdp.count(mode))),
            xdp_frames: self.frames(),
            ready: now.programmed,
            problems: &now.counts,
            watches: &self.watches.all(),
            events: self.events.all(),
            measures: self.shared.measures(),
            flows: &self.flow_metrics,
        };
        ctl::render_metrics(&numbers)
    }

    fn simulate(&self, request: &SimulateRequest) -> Result<Simulated, PastError> {
        let known = recall(self.history.as_deref(), &self.records, request.since);
        ctl::simulated(request, &self.shared.world(), known)
    }

    fn suggest(&self, request: &SuggestRequest) -> Result<Suggested, PastError> {
        let known = recall(self.history.as_deref(), &self.records, request.since);
        ctl::suggested(request, &self.shared.world(), known)
    }

    fn flows(&self) -> &Arc<FlowStore> {
        &self.records
    }
}
