//! Agents that are restarted, killed and taken out while the node is busy.

use std::{env, net::SocketAddr, thread, time::Duration};

use netpol_tests::bed::{AgentOptions, Bed};
use serde_json::json;

use super::{
    START, build,
    load::{Load, Report},
};

/// How many agents are killed one after another, unless the environment says otherwise.
const KILLS: usize = 10;
/// They are killed so long after their start at most: also before they are in sync.
pub(crate) const LIFE: Duration = Duration::from_millis(1500);
const WEB: &str = "10.96.0.8";

pub(crate) fn web(bed: &mut Bed) -> SocketAddr {
    bed.apply(&[json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "t"},
        "spec": {"selector": {"app": "server"}, "clusterIP": WEB, "ports": [{"port": 80}]},
    })])
    .unwrap();
    bed.await_agents(START).unwrap();
    SocketAddr::new(WEB.parse().unwrap(), 80)
}

pub(crate) fn server(bed: &Bed) -> Vec<SocketAddr> {
    bed.pod("t/server").unwrap().addresses.iter().map(|address| SocketAddr::new(*address, 80)).collect()
}

#[track_caller]
pub(crate) fn assert_unharmed(report: &Report, bed: &Bed) {
    println!(
        "{} exchanges, {} new connections, {} tries of strangers",
        report.exchanges, report.opened, report.silent
    );
    let log = || bed.agents().iter().map(|agent| agent.log()).collect::<String>();
    assert!(report.wrong.is_empty(), "{report:?}\n{}", log());
    let enough = report.exchanges > Report::ENOUGH && report.opened > Report::ENOUGH;
    assert!(enough, "{report:?} proves little");
}

#[test]
fn agents_that_stop_and_die_at_any_moment_cost_a_busy_node_no_connection() {
    let kills = env::var("NETPOL_KILLS").map_or(KILLS, |n| n.parse().expect("NETPOL_KILLS is a number"));
    let mut bed = build();
    let mut targets = server(&bed);
    targets.push(web(&mut bed));
    let load = Load::start(&bed, &["t/near", "t/far"], &["t/stranger", "t/far-stranger"], &targets);
    for number in 0..kills {
        let node = ["node1", "node2"][number % 2];
        thread::sleep(LIFE.mul_f64(fastrand::f64()));
        bed.take_agent(node).unwrap().kill().unwrap();
        bed.start_agent(node, &AgentOptions::default()).unwrap();
    }
    bed.await_agents(START).unwrap();
    for node in ["node1", "node2"] {
        assert!(bed.take_agent(node).unwrap().stop().unwrap().success());
        bed.start_agent(node, &AgentOptions::default()).unwrap();
        bed.await_agents(START).unwrap();
    }
    let report = load.stop(&bed);
    assert_unharmed(&report, &bed);
    assert!(report.silent > Report::ENOUGH_STRANGERS, "{report:?} proves little");
}

#[test]
fn taking_netpol_out_of_a_busy_node_resets_no_connection_to_a_pod() {
    let mut bed = build();
    let load = Load::start(&bed, &["t/near", "t/far"], &[], &server(&bed));
    for node in ["node1", "node2"] {
        assert!(bed.take_agent(node).unwrap().stop().unwrap().success());
        bed.clean_up_node(node).unwrap();
    }
    // And back again: connections from before are known by the sockets at their ends.
    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.await_agents(START).unwrap();
    let report = load.stop(&bed);
    assert_unharmed(&report, &bed);
}
