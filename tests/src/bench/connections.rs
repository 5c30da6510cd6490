//! Connections between two pods of one node, with and without netpol, in one bed.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Report, Series,
    policed::{PROBE, pod, policies},
    traffic::{Ends, Load, last_cpu, measure},
};
use crate::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Place},
    probe::{Cell, Protocol},
};

/// What carries the traffic: each has a node of its own.
const VARIANTS: [&str; 4] = ["raw", "raw_again", "policed", "policed_no_fast_path"];
/// How many of them come without an agent.
const WITHOUT_AGENT: usize = 2;
const START: Duration = Duration::from_secs(30);

/// How long to measure.
struct Effort {
    rounds: usize,
    each: Duration,
}

/// Measures every load on every variant, in interleaved rounds, and adds quantities and ratios to the report.
/// `raw_again_over_raw` is the A/A pair: how far it is from 1 is how far the others can be trusted.
///
/// # Errors
/// If the bed cannot be built, or traffic does not flow.
pub fn connections(quick: bool, report: &mut Report) -> Result<()> {
    let effort = if quick {
        Effort { rounds: 5, each: Duration::from_millis(60) }
    } else {
        Effort { rounds: 41, each: Duration::from_millis(100) }
    };
    let bed = build()?;
    for load in Load::ALL {
        let series = rounds(&bed, load, &effort)?;
        for one in &series {
            report.add(one);
        }
        let raw = &series[0];
        for (variant, one) in VARIANTS.iter().zip(&series).skip(1) {
            report.add_ratio(format!("{}.{variant}_over_raw", load.name()), one, raw);
        }
    }
    Ok(())
}

fn rounds(bed: &Bed, load: Load, effort: &Effort) -> Result<Vec<Series>> {
    let cpu = last_cpu()?;
    let name = |variant: &&str| Series::new(format!("{}.{variant}", load.name()), load.unit());
    let mut series: Vec<_> = VARIANTS.iter().map(name).collect();
    for round in 0..effort.rounds {
        for turn in 0..VARIANTS.len() {
            // Nobody is always first.
            let at = (round + turn) % VARIANTS.len();
            let (client, server) = (bed.pod(&pod_name("client", at))?, bed.pod(&pod_name("server", at))?);
            let ends = Ends::direct(&client.netns, &server.netns, v4(&server.addresses)?);
            let rate = measure(load, ends, effort.each, cpu)
                .with_context(|| format!("{}.{}, round {round}", load.name(), VARIANTS[at]))?;
            series[at].rounds.push(rate);
        }
    }
    Ok(series)
}

fn build() -> Result<Bed> {
    let nodes = VARIANTS.iter().map(|v| NodeSpec::new(&node_name(v), Cni::Ptp)).collect();
    let mut bed = Bed::build(&ClusterSpec { nodes, outside: Vec::new(), families: vec![Family::V4] })?;
    let fast = AgentOptions::default();
    let slow = AgentOptions { arguments: vec!["--fast-path=off".to_owned()], ..AgentOptions::default() };
    bed.start_agent(&node_name(VARIANTS[2]), &fast)?;
    bed.start_agent(&node_name(VARIANTS[3]), &slow)?;
    bed.apply(&policies())?;
    let roles = ["client", "server", "stranger"];
    let pods: Vec<_> =
        (0..VARIANTS.len()).flat_map(|at| roles.map(|role| pod(role, &node_name(VARIANTS[at])))).collect();
    bed.apply(&pods)?;
    bed.await_agents(START)?;
    // A policed pair that is not policed would be measured as well.
    let cell = |role: &str, at: usize| Cell {
        from: Place::Pod(pod_name(role, at)),
        to: pod_name("server", at),
        protocol: Protocol::Tcp,
        port: PROBE,
        family: Family::V4,
    };
    let expected: Vec<_> = (0..VARIANTS.len())
        .flat_map(|at| [(cell("client", at), true), (cell("stranger", at), at < WITHOUT_AGENT)])
        .collect();
    let wrong = bed.settle(&expected, START)?;
    ensure!(wrong.is_empty(), "the pods of the benchmark are not policed as they should be: {wrong:?}");
    Ok(bed)
}

fn node_name(variant: &str) -> String {
    variant.replace('_', "-")
}

fn pod_name(role: &str, at: usize) -> String {
    format!("bench/{role}-{}", node_name(VARIANTS[at]))
}

fn v4(addresses: &[IpAddr]) -> Result<IpAddr> {
    addresses.iter().copied().find(IpAddr::is_ipv4).context("no IPv4 address")
}
