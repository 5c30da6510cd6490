//! Connections between two pods of one node, with and without netpol, in one bed.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Report,
    effort::Effort,
    in_force::v4,
    policed::{PROBE, pod, policies},
    stateful::{self, Pods},
    traffic::Load,
    turns::Turns,
};
use crate::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Place},
    probe::{Cell, Protocol},
};

/// What carries the traffic: each has a node of its own.
const VARIANTS: [&str; 6] =
    ["raw", "raw_again", "policed", "policed_no_fast_path", "iptables_policies", "nftables_policies"];
/// Places among them: how many come without policies, those with agents, and those with rules for netfilter.
const UNPOLICED: usize = 2;
const FAST: usize = 2;
const SLOW: usize = 3;
const IPTABLES: usize = 4;
const NFTABLES: usize = 5;
/// Ratios that are reported: places of two variants.
const RATIOS: [(usize, usize); 6] =
    [(FAST, 0), (SLOW, 0), (IPTABLES, 0), (NFTABLES, 0), (FAST, IPTABLES), (FAST, NFTABLES)];
/// The A/A pair.
const AGAIN: (usize, usize) = (1, 0);
const START: Duration = Duration::from_secs(30);

/// Measures every load on every variant, in interleaved rounds, and adds quantities and ratios to the report.
/// `raw_again_over_raw` is the A/A pair, by which the others are told or refused.
///
/// # Errors
/// If the bed cannot be built, or traffic does not flow.
pub fn connections(quick: bool, report: &mut Report) -> Result<()> {
    let effort = Effort::new(quick, 41);
    let bed = build()?;
    for load in Load::ALL {
        let name = load.name().to_owned();
        let turns = Turns { bed: &bed, name: &name, variants: &VARIANTS, pod: pod_name };
        let series = turns.measure(load, &effort)?;
        turns.report(&series, AGAIN, RATIOS, report);
    }
    Ok(())
}

fn build() -> Result<Bed> {
    let nodes = VARIANTS.iter().map(|v| NodeSpec::new(&node_name(v), Cni::Ptp)).collect();
    let mut bed = Bed::build(&ClusterSpec { nodes, outside: Vec::new(), families: vec![Family::V4] })?;
    let fast = AgentOptions::default();
    let slow = AgentOptions { arguments: vec!["--fast-path=off".to_owned()], ..AgentOptions::default() };
    bed.start_agent(&node_name(VARIANTS[FAST]), &fast)?;
    bed.start_agent(&node_name(VARIANTS[SLOW]), &slow)?;
    bed.apply(&policies())?;
    let roles = ["client", "server", "stranger"];
    let pods: Vec<_> =
        (0..VARIANTS.len()).flat_map(|at| roles.map(|role| pod(role, &node_name(VARIANTS[at])))).collect();
    bed.apply(&pods)?;
    put_rules_in_force(&bed)?;
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
        .flat_map(|at| [(cell("client", at), true), (cell("stranger", at), at < UNPOLICED)])
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

/// The same policies, as rules of the nodes that have no agent.
fn put_rules_in_force(bed: &Bed) -> Result<()> {
    let address = |role: &str, at: usize| v4(&bed.pod(&pod_name(role, at))?.addresses);
    let all = |role: &str| (0..VARIANTS.len()).map(|at| address(role, at)).collect::<Result<Vec<Ipv4Addr>>>();
    let pods = |at: usize| -> Result<Pods> {
        Ok(Pods {
            clients: all("client")?,
            servers: all("server")?,
            client: address("client", at)?,
            server: address("server", at)?,
        })
    };
    let feed = |at: usize, command: &mut Command, rules: &str| {
        bed.node(&node_name(VARIANTS[at]))?.netns.feed(command, rules).context(VARIANTS[at])
    };
    let of_iptables = pods(IPTABLES)?;
    feed(IPTABLES, Command::new("ipset").arg("restore"), &stateful::ipset(&of_iptables))?;
    feed(IPTABLES, &mut Command::new("iptables-restore"), &stateful::iptables(&of_iptables))?;
    feed(NFTABLES, Command::new("nft").args(["-f", "-"]), &stateful::nftables(&pods(NFTABLES)?))
}
