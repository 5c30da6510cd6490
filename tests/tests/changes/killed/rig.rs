//! A node whose agent is killed before a write of one's choice, and started again.

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::{
    ctl::api::EndpointView,
    dataplane::{Dataplane, Interface, Rows, fake::Fake},
    engine::Engine,
    model::{Manifest, convert},
    oracle::{Family, Party, Question, World, judge},
    source::{DirSource, SourceEvent},
};
use netpol_common::net::proto::{TCP, UDP};
use netpol_tests::{
    bed::{Agent, AgentOptions, Bed, ClusterSpec, Cni, NodeSpec, object_ref},
    flows::{endpoints, status},
};
use serde_json::Value;
use tokio::sync::mpsc;

use super::eyes::{Answers, Eyes, Opening, Services, Way, canonical};

pub(super) const NODE: &str = "node1";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// What is asked of every pair.
const ASKED: [(u8, u16); 3] = [(TCP, 80), (TCP, 81), (UDP, 53)];

/// A bed with one agent, if that lives.
pub(super) struct Rig {
    pub(super) bed: Bed,
    fault: PathBuf,
    agent: Option<Agent>,
}

/// What became of an agent that was to act on a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Killed,
    InSync,
}

impl Rig {
    pub(super) fn new(objects: &[Value]) -> Result<Self> {
        let nodes = vec![NodeSpec::new(NODE, Cni::Ptp)];
        let bed = Bed::build(&ClusterSpec { nodes, ..ClusterSpec::default() })?;
        // To the pods of a node that nobody has.
        bed.node(NODE)?.netns.ip(&[
            "route add 10.244.9.0/24 via 172.18.0.9".to_owned(),
            "route add fd00:10:244:9::/64 via fd00:172:18::9".to_owned(),
        ])?;
        let fault = bed.folder().join("fault");
        let mut rig = Self { bed, fault, agent: None };
        rig.put(objects)?;
        Ok(rig)
    }

    /// Starts an agent that carries out so many operations; `None`: all.
    pub(super) fn start(&mut self, operations: Option<usize>) -> Result<()> {
        self.arm(operations)?;
        let options = AgentOptions { fault_point: Some(self.fault.clone()), ..AgentOptions::default() };
        self.bed.start_agent(NODE, &options)?;
        self.agent = Some(self.bed.take_agent(NODE)?);
        Ok(())
    }

    /// Kills the agent before the operation after the next so many; `None`: lets it live.
    pub(super) fn arm(&self, operations: Option<usize>) -> Result<()> {
        match operations {
            Some(n) => Ok(fs::write(&self.fault, n.to_string())?),
            None if self.fault.exists() => Ok(fs::remove_file(&self.fault)?),
            None => Ok(()),
        }
    }

    /// Waits until the agent is dead or has put everything in force.
    pub(super) fn await_end(&mut self) -> Result<End> {
        let agent = self.agent.as_mut().context("there is no agent")?;
        let pods = self.bed.pods().count();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = agent.ended()? {
                ensure!(ended.to_string().contains("signal: 9"), "the agent ended: {ended}\n{}", agent.log());
                self.agent = None;
                return Ok(End::Killed);
            }
            // One that is about to die does not answer.
            let state = status(agent);
            if state.as_ref().is_ok_and(|s| s.in_sync && s.endpoints.ready == pods) {
                return Ok(End::InSync);
            }
            ensure!(Instant::now() < deadline, "the agent is not in sync: {state:?}\n{}", agent.log());
            thread::sleep(POLL);
        }
    }

    /// Starts an agent in place of one that was killed, and lets it finish.
    pub(super) fn recover(&mut self) -> Result<()> {
        self.start(None)?;
        ensure!(self.await_end()? == End::InSync, "the new agent ended, too");
        Ok(())
    }

    /// Ends the agent and takes away all that it left behind.
    pub(super) fn clean_up(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.stop()?;
        }
        self.bed.clean_up_node(NODE)
    }

    /// Puts objects in place that were others, or not there, and deletes those that are not among the new ones.
    pub(super) fn change(&mut self, from: &[Value], to: &[Value]) -> Result<()> {
        let new: Vec<Value> = to.iter().filter(|object| !from.contains(object)).cloned().collect();
        self.put(&new)?;
        let keys = to.iter().map(object_ref).collect::<Result<Vec<_>>>()?;
        let gone = from.iter().map(object_ref).collect::<Result<Vec<_>>>()?;
        let gone: Vec<_> = gone.into_iter().filter(|key| !keys.contains(key)).collect();
        self.bed.delete(&gone)
    }

    fn put(&mut self, objects: &[Value]) -> Result<()> {
        let is_here = |object: &Value| object["spec"]["nodeName"].as_str().is_none_or(|node| node == NODE);
        let (here, elsewhere): (Vec<_>, Vec<_>) = objects.iter().cloned().partition(is_here);
        self.bed.apply(&here)?;
        elsewhere.iter().try_for_each(|object| self.bed.tell(object))
    }

    /// Every question that this node answers alone: between its pods named so and these addresses.
    pub(super) fn openings(&self, pods: &[&str], others: &[IpAddr]) -> Result<Vec<Opening>> {
        let endpoints = self.endpoints()?;
        let mut openings = Vec::new();
        for name in pods {
            let is_it = |e: &&EndpointView| e.pod.as_ref().is_some_and(|pod| pod.to_string() == *name);
            let endpoint = endpoints.iter().find(is_it).with_context(|| format!("no endpoint {name}"))?;
            let ifindex = endpoint.ifindex.with_context(|| format!("{name} has no interface"))?;
            for other in others {
                let own = endpoint.addresses.iter().find(|a| a.is_ipv4() == other.is_ipv4());
                let own = *own.with_context(|| format!("{name} has no address for {other}"))?;
                for (protocol, port) in ASKED {
                    for way in [Way::FromPod, Way::ToPod] {
                        let (pod, other) = ((*name).to_owned(), *other);
                        openings.push(Opening { pod, way, ifindex, own, other, protocol, port });
                    }
                }
            }
        }
        Ok(openings)
    }

    /// What these clients beyond the nodes ask of the addresses that Services have on this node.
    pub(super) fn openings_outside(&self, clients: &[IpAddr], asked: &[(IpAddr, u8, u16)]) -> Vec<Opening> {
        let opening = |other: IpAddr, (own, protocol, port): (IpAddr, u8, u16)| {
            let (pod, way) = ("outside".to_owned(), Way::FromOutside);
            Opening { pod, way, ifindex: 0, own, other, protocol, port }
        };
        let of = |client: &IpAddr| {
            let client = *client;
            asked
                .iter()
                .filter(move |(own, ..)| own.is_ipv4() == client.is_ipv4())
                .map(move |a| opening(client, *a))
        };
        clients.iter().flat_map(of).collect()
    }

    fn endpoints(&self) -> Result<Vec<EndpointView>> {
        endpoints(self.agent.as_ref().context("there is no agent")?)
    }

    fn manifests(&self) -> Result<Vec<Manifest>> {
        let folder = self.bed.manifests().to_owned();
        self.bed.runtime().block_on(async {
            let (sender, mut batches) = mpsc::channel(1);
            let source = DirSource::open(folder)?;
            let reading = tokio::spawn(source.run(sender));
            let batch = batches.recv().await.context("the folder is not read")?;
            drop(batches);
            reading.await??;
            ensure!(batch.contains(&SourceEvent::Synced), "the folder comes in parts");
            let manifest = |event| match event {
                SourceEvent::Apply { manifest, .. } => Some(manifest),
                _ => None,
            };
            Ok(batch.into_iter().filter_map(manifest).collect())
        })
    }

    /// Holds the rows in the maps against those that an agent would write that begins with nothing.
    pub(super) fn check_rows(&self, eyes: &Eyes) -> Result<()> {
        let capacity = eyes.maps.capacity();
        let (mut engine, mut fake) = (Engine::new(NODE, capacity, Rows::default()), Fake::new(capacity));
        for manifest in self.manifests()? {
            engine.apply(convert(&manifest, ""));
        }
        for endpoint in self.endpoints()? {
            let (Some(pod), Some(ifindex), Some(name)) = (endpoint.pod, endpoint.ifindex, endpoint.interface)
            else {
                bail!("a stranger's interface, or a pod without one");
            };
            let netns = format!("cni-{}.{}", pod.namespace, pod.name);
            let addresses = endpoint.addresses;
            engine.interface_up(Interface { ifindex, name, netns, addresses, master: 0, adopting: false });
        }
        engine.synced();
        loop {
            let plan = engine.plan();
            ensure!(plan.refusals.is_empty(), "{:?}", plan.refusals);
            if plan.ops.is_empty() {
                break;
            }
            for op in &plan.ops {
                fake.apply(op)?;
                engine.applied(op);
            }
        }
        let (fresh, held): ((Rows, Services), _) = (canonical(fake.read()?), eyes.rows()?);
        ensure!(fresh == held, "the maps hold\n{held:#?}\na fresh agent would write\n{fresh:#?}");
        Ok(())
    }

    /// Holds what the programs do against the reference evaluator.
    pub(super) fn check_answers(&self, answers: &Answers, services: &[IpAddr]) -> Result<()> {
        let world: World = self.manifests()?.into_iter().collect();
        let is_direct =
            |opening: &Opening| opening.way != Way::FromOutside && !services.contains(&opening.other);
        for (opening, answer) in answers.iter().filter(|(opening, _)| is_direct(opening)) {
            let Opening { way, own, other, protocol, port, .. } = opening;
            let (from, to) = match way {
                Way::FromPod => (*own, *other),
                Way::ToPod | Way::FromOutside => (*other, *own),
            };
            let family = Family::of(*own);
            let (from, to) = (Party::Address(from), Party::Address(to));
            let judgement = judge(&world, &Question { from, to, family, protocol: *protocol, port: *port })?;
            // The other end's node judges that end.
            let end = if *way == Way::FromPod { &judgement.egress } else { &judgement.ingress };
            ensure!(
                answer.is_some() == end.allows(),
                "{opening:?}: the programs say {answer:?}, the evaluator {judgement:?}"
            );
        }
        Ok(())
    }

    /// The last lines of the agents' log.
    pub(super) fn last_words(&self) -> String {
        let log = self.bed.folder().join("nodes").join(NODE).join("agent.log");
        let log = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().filter(|line| line.contains("fault point")).take(1).collect();
        lines.concat()
    }
}
