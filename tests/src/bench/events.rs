//! Single changes in a large cluster, from the API server to the maps: how soon they are in force, and what they cost the agent.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netpol_common::{
    lookup::{Question, tables},
    net::{Be16, proto},
    service::FrontendKey4,
};
use serde_json::{Value, json};

use super::{
    Report, Series,
    crowd::{self, Crowd},
    scale::to_force,
    sight::Sight,
    storm,
    work::at_rest,
};
use crate::{
    apiserver::ApiServer,
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Source},
    flows::endpoints,
    packet::{SYN, World, tcp},
};

const NODE: &str = "node1";
const NAMESPACE: &str = "bench";
const START: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at the maps.
const PACE: Duration = Duration::from_micros(100);
/// Address of endpoint `n` that has come in place of another one.
const NEW_ENDPOINTS: Ipv4Addr = Ipv4Addr::new(10, 120, 0, 0);

struct Effort {
    crowd: Crowd,
    own_pods: usize,
    changes: usize,
    storm: Duration,
}

impl Effort {
    fn new(quick: bool) -> Self {
        let crowd = Crowd { policies: 2_000, ..Crowd::LARGE };
        if quick {
            Self { crowd: crowd.part(10), own_pods: 10, changes: 10, storm: Duration::from_secs(3) }
        } else {
            Self { crowd, own_pods: 100, changes: 200, storm: Duration::from_secs(60) }
        }
    }
}

/// An agent in a large cluster: one endpoint of a Service is replaced, one policy changes its port or its peers, and pods change a thousand
/// times a second.
///
/// # Errors
/// If the bed cannot be built, or a change has no effect.
pub fn events(quick: bool, report: &mut Report) -> Result<()> {
    let Effort { crowd, own_pods, changes, storm: length } = Effort::new(quick);
    let nodes = vec![NodeSpec::new(NODE, Cni::Ptp)];
    let mut bed = Bed::build(&ClusterSpec { nodes, outside: Vec::new(), families: vec![Family::V4] })?;
    bed.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})])?;
    for n in 0..own_pods {
        bed.apply(&[json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("own-{n}"), "namespace": NAMESPACE},
            "spec": {"nodeName": NODE, "containers": [{"name": "c"}]},
        })])?;
    }
    let server = bed.start_api_server()?;
    crowd.objects().try_for_each(|object| server.put(object))?;
    server.put(policy([0, 1], 8080))?;
    let (services, endpoints) = (crowd.services, crowd.endpoints());
    eprintln!(
        "  {} pods, {own_pods} of them here, {services} Services, {endpoints} endpoints, {} policies",
        crowd.pods, crowd.policies
    );
    bed.start_agents(&AgentOptions { source: Source::Server, ..AgentOptions::default() })?;
    bed.await_agents(START)?;
    let mut start = Series::new("event.start.to_force", "ms");
    start.rounds.push(to_force(bed.agents().first().context("no agent")?)?);
    report.add(&start);
    let stage = Stage::new(&bed, server, crowd)?;
    let log = || bed.agents().iter().map(|agent| agent.log()).collect::<String>();
    let measured = [
        stage.replace_endpoints(changes),
        stage.change_policy("event.policy_ports", changes, |n| ([0, 1], 8080 + n as u16 % 2)),
        stage.change_policy("event.policy_peers", changes, |n| ([n % 2 * 2, n % 2 * 2 + 1], 8080)),
        storm::storm(&stage.sight, &stage.server, stage.agent, crowd, length),
    ];
    for series in measured {
        series.with_context(log)?.iter().for_each(|series| report.add(series));
    }
    Ok(())
}

/// Lets the pods of the namespace send to the pods of two applications, wherever they are.
fn policy(apps: [usize; 2], port: u16) -> Value {
    let apps = apps.map(|app| format!("app-{app}"));
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "changes", "namespace": NAMESPACE},
        "spec": {
            "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{
                "to": [{
                    "namespaceSelector": {},
                    "podSelector": {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In", "values": apps}]},
                }],
                "ports": [{"port": port}],
            }],
        },
    })
}

struct Stage {
    sight: Sight,
    server: ApiServer,
    crowd: Crowd,
    /// Process of the agent.
    agent: u32,
    /// Interface index and address of each pod of the node.
    pods: Vec<(u32, IpAddr)>,
}

impl Stage {
    fn new(bed: &Bed, server: ApiServer, crowd: Crowd) -> Result<Self> {
        let agent = bed.agents().first().context("no agent")?;
        let pods =
            endpoints(agent)?.into_iter().filter_map(|pod| Some((pod.ifindex?, *pod.addresses.first()?)));
        let pods: Vec<_> = pods.collect();
        ensure!(!pods.is_empty(), "there is no pod");
        Ok(Self { sight: Sight::open(bed, NODE)?, server, crowd, agent: agent.id(), pods })
    }

    /// Another endpoint of another Service each time: it is in force when the Service's range of the arena has its address.
    fn replace_endpoints(&self, changes: usize) -> Result<[Series; 2]> {
        let mut measured = Measured::new("event.endpoint");
        for n in 0..changes {
            let service = n * 37 % self.crowd.services;
            let address = Ipv4Addr::from_bits(NEW_ENDPOINTS.to_bits() + n as u32 + 1);
            let object = crowd::slice_with(service, self.crowd.pods, address);
            let wanted = u32::from_ne_bytes(address.octets()) & 0x7fff_ffff;
            let among =
                (0..crowd::ENDPOINTS as u32).map(|backend| ask_service(service, backend)).collect::<Vec<_>>();
            measured.take(self, object, || {
                for question in &among {
                    if self.sight.look_up(question)? == Some(wanted) {
                        return Ok(true);
                    }
                }
                Ok(false)
            })?;
        }
        Ok(measured.0)
    }

    /// It is in force when the last pod may send to a peer that the change has let in, each to another one.
    fn change_policy(
        &self,
        name: &str,
        changes: usize,
        change: impl Fn(usize) -> ([usize; 2], u16) + Sync,
    ) -> Result<[Series; 2]> {
        let mut measured = Measured::new(name);
        self.sight.packets(|passes| {
            // The last one leaves things as they were.
            for n in 1..=changes / 2 * 2 {
                let (apps, port) = change(n);
                let mut left = self.pods.iter().enumerate().map(|(at, (ifindex, pod))| {
                    let peer = crowd::peer(self.crowd.pods, apps[at % 2], at * 61);
                    let from = World::at(*pod, 20_000 + n as u16);
                    (*ifindex, tcp(from, World::at(peer.into(), port), SYN, b""))
                });
                let mut next = left.next();
                measured.take(self, policy(apps, port), || {
                    while let Some((ifindex, packet)) = &next {
                        if !passes(*ifindex, packet)? {
                            return Ok(false);
                        }
                        next = left.next();
                    }
                    Ok(true)
                })?;
            }
            Ok(())
        })?;
        Ok(measured.0)
    }
}

/// Time until a change is in force, and the agent's processor time for it.
struct Measured([Series; 2]);

impl Measured {
    fn new(name: &str) -> Self {
        Self(["effect", "work"].map(|what| Series::new(format!("{name}.{what}"), "ms")))
    }

    fn take(
        &mut self,
        stage: &Stage,
        object: Value,
        mut in_force: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let before = at_rest(stage.agent)?;
        ensure!(!in_force()?, "in force before it was written: {object}");
        let what = object["metadata"]["name"].to_string();
        let since = Instant::now();
        stage.server.put(object)?;
        while !in_force()? {
            ensure!(since.elapsed() < PATIENCE, "{what} does not come into force");
            thread::sleep(PACE);
        }
        let effect = since.elapsed();
        let work = at_rest(stage.agent)?.saturating_sub(before);
        for (series, time) in self.0.iter_mut().zip([effect, work]) {
            series.rounds.push(time.as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

fn ask_service(service: usize, backend: u32) -> Question {
    let frontend = FrontendKey4 {
        addr: crowd::cluster_ip(service).into(),
        port: Be16::from_host(80),
        proto: proto::TCP,
        pad: 0,
    };
    Question { frontend, backend, tables: tables::SERVICE, ..Question::default() }
}
