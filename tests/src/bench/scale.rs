//! An agent in a large cluster: how much memory it takes, and how soon after its start everything is in force.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    Report, Series,
    crowd::{self, Crowd},
};
use crate::{
    bed::{Agent, AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Source},
    flows::metrics,
    usage::Usage,
};

const PATIENCE: Duration = Duration::from_secs(300);
/// Pods of the agent's own node, each of another namespace.
const OWN_PODS: usize = 20;

/// Starts an agent beside an API server that holds a large cluster, several times: on a node where nothing is pinned, and
/// again over the tables of the one before.
///
/// # Errors
/// If the bed cannot be built, or the agent does not come to be in sync.
pub fn scale(quick: bool, report: &mut Report) -> Result<()> {
    let crowd = if quick { Crowd::LARGE.part(10) } else { Crowd::LARGE };
    let nodes = vec![NodeSpec::new("node1", Cni::Ptp)];
    let mut bed = Bed::build(&ClusterSpec { nodes, outside: Vec::new(), families: vec![Family::V4] })?;
    for n in 0..OWN_PODS {
        bed.apply(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": crowd::namespace(n)}),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "own", "namespace": crowd::name(n), "labels": crowd::labels(n)},
                "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
            }),
        ])?;
    }
    let server = bed.start_api_server()?;
    crowd.objects().try_for_each(|object| server.put(object))?;
    let sizes = format!("{} pods, {} Services", crowd.pods, crowd.services);
    eprintln!("  {sizes}, {} endpoints, {} policies", crowd.endpoints(), crowd.policies);
    let mut all = ["cold", "restart"].map(Measured::new);
    for _ in 0..if quick { 1 } else { 5 } {
        for measured in &mut all {
            measured.take(&mut bed)?;
        }
        bed.clean_up_node("node1")?;
    }
    all.iter().flat_map(|measured| &measured.0).for_each(|series| report.add(series));
    Ok(())
}

/// Time until it is in sync, from the delivery of everything until that is in force, processor time until then, resident memory then, and
/// at its most.
struct Measured([Series; 5]);

impl Measured {
    fn new(how: &str) -> Self {
        let names =
            [("sync", "s"), ("to_force", "ms"), ("cpu", "s"), ("resident", "MiB"), ("resident_peak", "MiB")];
        Self(names.map(|(name, unit)| Series::new(format!("scale.{how}.{name}"), unit)))
    }

    fn take(&mut self, bed: &mut Bed) -> Result<()> {
        let begin = Instant::now();
        bed.start_agents(&AgentOptions { source: Source::Server, ..AgentOptions::default() })?;
        bed.await_agents(PATIENCE)?;
        let sync = begin.elapsed().as_secs_f64();
        let agent = bed.take_agent("node1")?;
        let to_force = to_force(&agent)?;
        let Usage { cpu, resident, resident_peak } = Usage::of(agent.id())?;
        let values = [sync, to_force, cpu, resident, resident_peak];
        self.0.iter_mut().zip(values).for_each(|(series, value)| series.rounds.push(value));
        agent.stop().map(drop)
    }
}

/// Milliseconds from the delivery of everything until that was in force.
pub(super) fn to_force(agent: &Agent) -> Result<f64> {
    Ok((startup(agent, "in-force")? - startup(agent, "delivered")?) * 1e3)
}

/// Seconds from the agent's start until it had come so far.
fn startup(agent: &Agent, until: &str) -> Result<f64> {
    let text = metrics(agent)?;
    let line = format!("netpol_startup_seconds{{until=\"{until}\"}} ");
    let value = text.lines().find_map(|found| found.strip_prefix(&line)).with_context(|| line.clone())?;
    value.parse().with_context(|| value.to_owned())
}
