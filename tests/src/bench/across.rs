//! Connections between pods of two nodes: by netpol past the nodes' own forwarding, by netpol without that, and by the forwarding alone.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    Report,
    effort::Effort,
    policed::{PROBE, pod, policies},
    traffic::Load,
    turns::Turns,
};
use crate::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Place},
    flows::status,
    probe::{Cell, Protocol},
};

/// What carries the traffic: each has two nodes of its own.
const VARIANTS: [&str; 4] = ["raw", "raw_again", "policed", "policed_no_fast_path"];
/// Places among them: how many come without policies, and those with agents.
const UNPOLICED: usize = 2;
const FAST: usize = 2;
const SLOW: usize = 3;
/// Ratios that are reported: places of two variants.
const RATIOS: [(usize, usize); 2] = [(FAST, 0), (SLOW, 0)];
/// The A/A pair.
const AGAIN: (usize, usize) = (1, 0);
const LOADS: [Load; 3] = [Load::Rr, Load::Crr, Load::UdpRr];
const START: Duration = Duration::from_secs(30);

/// Measures every load on every variant, in interleaved rounds, and adds quantities and ratios to the report.
///
/// # Errors
/// If the bed cannot be built, traffic does not flow, or netpol does not take it past the nodes' forwarding.
pub fn across(quick: bool, report: &mut Report) -> Result<()> {
    let effort = Effort::new(quick, 41);
    let bed = build()?;
    for load in LOADS {
        let name = format!("across_{}", load.name());
        let turns = Turns { bed: &bed, name: &name, variants: &VARIANTS, pod: pod_name };
        let series = turns.measure(load, &effort)?;
        turns.report(&series, AGAIN, RATIOS, report);
    }
    Ok(())
}

fn build() -> Result<Bed> {
    let all = VARIANTS.iter().flat_map(|variant| nodes(variant));
    let nodes_of_all = all.map(|name| NodeSpec::new(&name, Cni::Ptp)).collect();
    let mut bed =
        Bed::build(&ClusterSpec { nodes: nodes_of_all, outside: Vec::new(), families: vec![Family::V4] })?;
    let fast = AgentOptions::default();
    let slow = AgentOptions { arguments: vec!["--fast-path=off".to_owned()], ..AgentOptions::default() };
    for (at, options) in [(FAST, &fast), (SLOW, &slow)] {
        for node in nodes(VARIANTS[at]) {
            bed.start_agent(&node, options)?;
        }
    }
    bed.apply(&policies())?;
    let pods_of = |variant: &&str| {
        let [near, far] = nodes(variant);
        [pod("client", &near), pod("stranger", &near), pod("server", &far)]
    };
    bed.apply(&VARIANTS.iter().flat_map(pods_of).collect::<Vec<_>>())?;
    bed.await_agents(START)?;
    // A policed pair that is not policed would be measured as well, and one that goes by the nodes' forwarding.
    let cell = |role: &str, at: usize| Cell {
        from: Place::Pod(pod_name(role, at)),
        to: pod_name("server", at),
        protocol: Protocol::Tcp,
        port: PROBE,
        family: Family::V4,
    };
    let expected: Vec<_> = (0..VARIANTS.len())
        .flat_map(|at| [(cell("client", at), true), (cell("stranger", at), at < UNPOLICED)])
        .collect();
    let wrong = bed.settle(&expected, START)?;
    ensure!(wrong.is_empty(), "the pods of the benchmark are not policed as they should be: {wrong:?}");
    let fast = nodes(VARIANTS[FAST]);
    for agent in bed.agents().iter().filter(|agent| fast.contains(&agent.node)) {
        let across = status(agent)?.across_nodes;
        // IPv6 is not measured, and the nodes may not forward it.
        ensure!(across == "on" || across.starts_with("IPv4 on;"), "{}: across nodes {across}", agent.node);
    }
    Ok(bed)
}

/// Where the client is, and where the server is.
fn nodes(variant: &str) -> [String; 2] {
    ["a", "b"].map(|which| format!("{}-{which}", variant.replace('_', "-")))
}

fn pod_name(role: &str, at: usize) -> String {
    let [near, far] = nodes(VARIANTS[at]);
    format!("bench/{role}-{}", if role == "server" { far } else { near })
}
