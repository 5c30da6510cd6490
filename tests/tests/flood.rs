//! Pods that flood fill what is theirs of the connection table, and together all of it: nobody else loses a connection,
//! and new ones are still made.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use netpol_agent::ctl::api::Status;
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Netns},
    flows::status,
    probe::{Connection, MIN_SIZE, Outcome, Protocol},
};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);
/// The agent looks every five seconds.
const LOOKS: Duration = Duration::from_secs(60);
const TABLE: usize = 1024;
const QUOTA: usize = 256;
const FLOODERS: [&str; 5] = ["t/flooder-0", "t/flooder-1", "t/flooder-2", "t/flooder-3", "t/flooder-4"];

fn pod(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "t", "labels": {"app": app}},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"},
        ]}]},
    })
}

/// The server answers everybody and asks nobody: its answers pass as answers or not at all.
fn policy() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "server", "namespace": "t"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {}}]}],
        },
    })
}

/// Opens one connection after the other until told to stop.
fn flood(from: &Netns, to: std::net::IpAddr, go_on: &AtomicBool) {
    const BURST: u16 = 64;
    let socket = from.enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?)).unwrap();
    let mut port = 1024;
    while go_on.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            port = if port == u16::MAX { 1024 } else { port + 1 };
            // Refused by the server's kernel, over and over.
            if let Err(e) = socket.send_to(b"?", (to, port)) {
                assert_eq!(e.kind(), std::io::ErrorKind::ConnectionRefused, "{e}");
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn connect(bed: &Bed, protocol: Protocol) -> Connection {
    let server = bed.pod("t/server").unwrap().addresses.iter().find(|addr| addr.is_ipv4()).unwrap();
    let to = SocketAddr::new(*server, if protocol == Protocol::Tcp { 80 } else { 53 });
    let _guard = bed.runtime().enter();
    Connection::prepare(&bed.pod("t/neighbour").unwrap().netns, protocol, to).unwrap()
}

#[track_caller]
fn assert_answered(bed: &Bed, connection: &mut Connection, what: &str) {
    let outcome = bed.runtime().block_on(connection.exchange(MIN_SIZE, PATIENCE));
    assert!(matches!(outcome, Outcome::Answered(_)), "{what}: {outcome:?}");
}

fn entries(status: &Status) -> (usize, usize) {
    let table = status.tables.iter().find(|fill| fill.table == "np_ct").unwrap();
    (table.rows, table.capacity)
}

fn counter(status: &Status, name: &str) -> u64 {
    status.counters.iter().find(|counter| counter.name == name).map_or(0, |counter| counter.count)
}

#[track_caller]
fn await_status(bed: &Bed, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + LOOKS;
    loop {
        let status = status(&bed.agents()[0]).unwrap();
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {:?} {:?}", status.tables, status.counters);
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn floods_cut_nobody_elses_connections_and_leave_room_for_new_ones() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    let mut objects =
        vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}), policy()];
    objects.extend([pod("server", "server"), pod("neighbour", "neighbour")]);
    objects.extend(FLOODERS.map(|name| pod(name.trim_start_matches("t/"), "flooder")));
    bed.apply(&objects).unwrap();
    let arguments = vec![format!("--ct-max={TABLE}"), format!("--ct-pod-max={QUOTA}")];
    bed.start_agent("node1", &AgentOptions { arguments, ..AgentOptions::default() }).unwrap();
    bed.await_agents(START).unwrap();
    let mut living = [Protocol::Tcp, Protocol::Udp].map(|protocol| connect(&bed, protocol));
    for connection in &mut living {
        assert_answered(&bed, connection, "before the flood");
    }

    let bed = &bed;
    let server = *bed.pod("t/server").unwrap().addresses.iter().find(|addr| addr.is_ipv4()).unwrap();
    let go_on = AtomicBool::new(true);
    let speak = |living: &mut [Connection], when: &str| {
        for connection in living {
            assert_answered(bed, connection, &format!("{when}, a connection from before"));
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let what = format!("{when}, a new connection ({})", protocol.name());
            assert_answered(bed, &mut connect(bed, protocol), &what);
        }
    };
    thread::scope(|scope| {
        // Ends the floods also where an assertion fails.
        let _ends = Ends(&go_on);
        let start = |name: &str| {
            let netns = bed.pod(name).unwrap().netns.clone();
            let go_on = &go_on;
            scope.spawn(move || flood(&netns, server, go_on));
        };
        start(FLOODERS[0]);
        let over = |status: &Status| counter(status, "over-quota") > 0 && entries(status).0 >= QUOTA * 9 / 10;
        let (rows, capacity) = entries(&await_status(bed, "one flooder has used up its quota", over));
        assert_eq!(capacity, TABLE);
        assert!(rows < QUOTA + QUOTA / 4, "{rows} entries, of which one pod has no more than {QUOTA}");
        speak(&mut living, "one pod floods");

        FLOODERS[1..].iter().for_each(|name| start(name));
        let full = |status: &Status| entries(status).0 >= TABLE * 9 / 10;
        let before = counter(&await_status(bed, "the table is full", full), "untracked");
        speak(&mut living, "the table is full");
        await_status(bed, "untracked packets are counted", |status| counter(status, "untracked") > before);
        for _ in 0..20 {
            speak(&mut living, "the table is full");
        }
    });

    // What never was answered is gone soon after; what was is not.
    await_status(bed, "the floods are forgotten", |status| entries(status).0 < QUOTA / 2);
    for connection in &mut living {
        assert_answered(bed, connection, "after the floods");
    }
}

/// Clears the flag when it goes.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
