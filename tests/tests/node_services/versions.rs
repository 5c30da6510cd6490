//! Agents of another version of the maps: the same build with another number, and so another folder of pins.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use netpol_common::version::ABI_VERSION;
use netpol_tests::{
    bed::{AgentOptions, Bed, Netns, Source, object_ref},
    eventually,
    flows::status,
};

use crate::{
    SOON, START, TCP, UDP, at, build,
    client::{Tcp, Udp, mapped},
    node, pod, settle,
};

const NODE: &str = "node1";
const NEXT: u32 = ABI_VERSION + 1;
/// How many agents are killed while one version follows the other.
const KILLS: usize = 6;
/// They are killed so long after their start at most: before they are in sync, while they take the other one's place, and after.
const LIFE: Duration = Duration::from_millis(1500);

fn version(version: u32) -> AgentOptions {
    AgentOptions { version: Some(version), ..AgentOptions::default() }
}

#[track_caller]
fn await_only(bed: &Bed, version: u32) {
    let pins = bed.node(NODE).unwrap().folder.join("bpf/netpol");
    let only = BTreeSet::from([format!("v{version}")]);
    let there = || -> BTreeSet<String> {
        let names =
            fs::read_dir(&pins).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "aside").collect()
    };
    eventually(SOON, "the other version is gone", || there() == only);
}

/// Sockets that were there before: of each way to speak to a Service one.
struct Sockets {
    tcp: Vec<(Tcp, SocketAddr)>,
    connected: Vec<(Udp, SocketAddr)>,
    free: Vec<(Udp, SocketAddr)>,
}

impl Sockets {
    fn open(netns: &Netns, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Self {
        let with_mapped = |to: &[SocketAddr]| -> BTreeSet<SocketAddr> {
            to.iter().flat_map(|to| [*to, mapped(*to)]).collect()
        };
        Self {
            tcp: with_mapped(tcp).into_iter().map(|to| (Tcp::connect(netns, to).unwrap(), to)).collect(),
            connected: with_mapped(udp)
                .into_iter()
                .map(|to| (Udp::connected(netns, to).unwrap(), to))
                .collect(),
            free: with_mapped(udp).into_iter().map(|to| (Udp::bind(netns, to), to)).collect(),
        }
    }

    /// Everybody answers, and is shown as the Service.
    #[track_caller]
    fn assert_served(&mut self, when: &str) {
        for (tcp, to) in &mut self.tcp {
            tcp.ask().unwrap_or_else(|e| panic!("{when}: TCP to {to}: {e}"));
            assert_eq!(tcp.peer(), *to, "{when}: TCP");
        }
        for (udp, to) in &self.connected {
            assert_eq!(udp.peer(), *to, "{when}: connected UDP");
            let (_, from) = udp.ask_peer().unwrap_or_else(|e| panic!("{when}: connected UDP to {to}: {e}"));
            assert_eq!(from, *to, "{when}: connected UDP");
        }
        for (udp, to) in &self.free {
            let (_, from) = udp.ask(*to).unwrap_or_else(|e| panic!("{when}: UDP to {to}: {e}"));
            assert_eq!(from, *to, "{when}: UDP");
        }
    }
}

#[test]
fn another_version_that_waits_for_its_objects_leaves_the_nodes_sockets_alone() {
    let mut bed = build();
    let (tcp, udp) = (at(&bed, "web", TCP), at(&bed, "web", UDP));
    let open = |bed: &Bed| Sockets::open(node(bed), &tcp, &udp);
    let mut before = open(&bed);
    before.assert_served("at first");

    let server = bed.start_api_server().unwrap();
    server.set_faults(|faults| faults.unavailable = true);
    assert!(bed.take_agent(NODE).unwrap().stop().unwrap().success());
    bed.start_agent(NODE, &AgentOptions { source: Source::Server, ..version(NEXT) }).unwrap();
    let state = || {
        let agent = bed.agents().iter().find(|agent| agent.node == NODE)?;
        status(agent).ok().map(|status| status.node_services)
    };
    eventually(START, "the other version has loaded its programs", || {
        state().is_some_and(|state| state.starts_with("on, cgroup"))
    });
    before.assert_served("while the other version waits");
    open(&bed).assert_served("new ones, while the other version waits");

    server.set_faults(|faults| faults.unavailable = false);
    bed.await_agents(START).unwrap();
    await_only(&bed, NEXT);
    before.assert_served("by the other version");
    open(&bed).assert_served("new ones, by the other version");

    bed.delete(&["a", "b"].map(|gone| object_ref(&pod(gone, "", "")).unwrap())).unwrap();
    bed.await_agents(START).unwrap();
    for (socket, to) in &before.free {
        let answer = settle("after its backend went", || socket.ask(*to), Result::is_ok).unwrap();
        assert_eq!(answer, ("t/c".to_owned(), *to));
    }
    for (socket, to) in &before.connected {
        if socket.is_connected() {
            assert_eq!(socket.ask_peer().unwrap(), ("t/c".to_owned(), *to), "its backend is there");
        }
    }
}

#[test]
fn versions_that_follow_one_another_and_die_meanwhile_cost_the_nodes_sockets_nothing() {
    let mut bed = build();
    let (tcp, udp) = (at(&bed, "web", TCP), at(&bed, "web", UDP));
    let netns = bed.node(NODE).unwrap().netns.clone();
    let mut before = Sockets::open(&netns, &tcp, &udp);
    let stop = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                before.assert_served("meanwhile");
                Sockets::open(&netns, &tcp, &udp).assert_served("new ones, meanwhile");
                rounds += 1;
            }
            rounds
        });
        for number in 0..KILLS {
            thread::sleep(LIFE.mul_f64(fastrand::f64()));
            bed.take_agent(NODE).unwrap().kill().unwrap();
            bed.start_agent(NODE, &version([NEXT, ABI_VERSION][number / 2 % 2])).unwrap();
        }
        bed.await_agents(START).unwrap();
        for number in [NEXT, ABI_VERSION] {
            assert!(bed.take_agent(NODE).unwrap().stop().unwrap().success());
            bed.start_agent(NODE, &version(number)).unwrap();
            bed.await_agents(START).unwrap();
            await_only(&bed, number);
        }
        stop.store(true, Ordering::Relaxed);
        client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    println!("{rounds} rounds");
    assert!(rounds > 100, "{rounds} rounds prove little");
}
