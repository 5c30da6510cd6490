//! An agent comes to nodes whose pods are at work: connections that policy allows go on, the others end.

mod beside;
mod cluster;
mod push;
mod stream;

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use cluster::{START, build, follow_connections, service, start, translate};
use netpol_tests::{
    bed::{AgentOptions, Bed, Family},
    probe::{Connection, MIN_SIZE, Outcome, Protocol},
};
use push::Push;
use stream::Stream;

/// Longer than TCP waits between two attempts, on any kernel, after so short an interruption.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long something must not come before it is taken not to.
const SILENCE: Duration = Duration::from_secs(2);
const ANSWERS: usize = 20;

/// Clients that stream to a server, and whether policy lets them: on the same node and from another, by each plugin.
const CLIENTS: [(&str, &str, bool); 10] = [
    ("routed-friend", "routed-server", true),
    ("routed-stranger", "routed-server", false),
    ("bridged-friend", "routed-server", true),
    ("bridged-stranger", "routed-server", false),
    ("routed-friend", "bridged-server", true),
    ("routed-stranger", "bridged-server", false),
    ("bridged-friend", "bridged-server", true),
    ("bridged-stranger", "bridged-server", false),
    // No policy selects these two servers; one does select the friend.
    ("routed-stranger", "bridged-open", true),
    ("routed-friend", "routed-open", false),
];

/// Whether the node's netfilter follows connections: without it nobody knows who opened them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    Yes,
    No,
}

struct Client {
    name: String,
    protocol: Protocol,
    allowed: bool,
    stream: Stream,
}

fn address(bed: &Bed, pod: &str, family: Family) -> IpAddr {
    let addresses = &bed.pod(&format!("t/{pod}")).unwrap().addresses;
    *addresses.iter().find(|addr| Family::of(**addr) == family).unwrap()
}

const fn port(protocol: Protocol) -> u16 {
    if matches!(protocol, Protocol::Tcp) { 80 } else { 53 }
}

fn client(bed: &Bed, from: &str, to: IpAddr, protocol: Protocol, allowed: bool) -> Client {
    let to = SocketAddr::new(to, port(protocol));
    let name = format!("{from} → {to} ({})", protocol.name());
    let stream = Stream::start(bed, &format!("t/{from}"), to, protocol);
    Client { name, protocol, allowed, stream }
}

/// Starts the agents while the clients are at work, and sees what becomes of them.
#[track_caller]
fn check(bed: &mut Bed, clients: Vec<Client>, followed: Followed) {
    for Client { name, stream, .. } in &clients {
        stream.await_answers(ANSWERS, PATIENCE, name);
    }
    start(bed);
    let (allowed, denied): (Vec<_>, Vec<_>) = clients.into_iter().partition(|client| client.allowed);
    await_silence(&denied);
    for Client { name, protocol, stream, .. } in allowed {
        stream.await_answers(ANSWERS, PATIENCE, &name);
        let lost = stream.stop().unwrap_or_else(|end| panic!("{name}: {end}"));
        // Datagrams of a connection that nobody knows have to wait for policy like anybody else's.
        let may_lose = protocol == Protocol::Udp && followed == Followed::No;
        assert!(lost == 0 || may_lose, "{name}: {lost} lost\n{}", logs(bed));
    }
}

/// All at one time: TCP gives up after a while.
#[track_caller]
fn await_silence(clients: &[Client]) {
    let answers = || clients.iter().map(|client| client.stream.answers(&client.name)).collect::<Vec<_>>();
    let deadline = Instant::now() + PATIENCE;
    let mut last = (answers(), Instant::now());
    while last.1.elapsed() < SILENCE {
        thread::sleep(Duration::from_millis(10));
        let now = answers();
        let speaking = clients.iter().zip(now.iter().zip(&last.0)).find(|(_, (now, before))| now != before);
        if let Some((client, _)) = speaking {
            assert!(Instant::now() < deadline, "{} is still answered", client.name);
            last = (now, Instant::now());
        }
    }
}

fn logs(bed: &Bed) -> String {
    bed.agents().iter().map(|agent| format!("{}:\n{}", agent.node, agent.log())).collect()
}

/// How often the agents have said so far that they took over connections.
fn times_taken_over(bed: &Bed) -> Vec<usize> {
    let mut agents: Vec<_> = bed.agents().iter().collect();
    agents.sort_unstable_by_key(|agent| &agent.node);
    agents.iter().map(|agent| agent.log().matches("connections of a pod taken over").count()).collect()
}

fn clients(bed: &Bed) -> Vec<Client> {
    let mut clients = Vec::new();
    for (from, to, allowed) in CLIENTS {
        for family in Family::ALL {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                clients.push(client(bed, from, address(bed, to, family), protocol, allowed));
            }
        }
    }
    clients
}

#[test]
fn connections_that_the_node_follows_go_on_without_loss_where_policy_allows_them() {
    let mut bed = build(&[]);
    follow_connections(&bed);
    let clients = clients(&bed);
    check(&mut bed, clients, Followed::Yes);

    let taken_over = times_taken_over(&bed);
    assert!(!taken_over.contains(&0), "{taken_over:?}\n{}", logs(&bed));
    for node in ["node1", "node2"] {
        assert!(bed.take_agent(node).unwrap().stop().unwrap().success());
    }
    bed.start_agents(&AgentOptions::default()).unwrap();
    bed.await_agents(START).unwrap();
    assert_eq!(times_taken_over(&bed), taken_over, "pods that have their programs are nobody's to take over");
}

#[test]
fn connections_that_nobody_follows_go_on_where_policy_allows_them() {
    let mut bed = build(&[]);
    let clients = clients(&bed);
    check(&mut bed, clients, Followed::No);
    assert_eq!(times_taken_over(&bed), [0, 0], "{}", logs(&bed));
}

#[test]
fn answers_go_on_to_a_client_that_has_fallen_silent() {
    let mut bed = build(&[]);
    follow_connections(&bed);
    let mut pushes = Vec::new();
    for (client, server) in [
        ("routed-friend", "routed-server"),
        ("routed-friend", "bridged-server"),
        ("bridged-friend", "bridged-server"),
        ("bridged-friend", "routed-server"),
    ] {
        for family in Family::ALL {
            let netns = |pod: &str| bed.pod(&format!("t/{pod}")).unwrap().netns.clone();
            let to = address(&bed, server, family);
            pushes.push((
                format!("{server} → {client}, {family:?}"),
                Push::start(&netns(client), &netns(server), to),
            ));
        }
    }
    start(&mut bed);
    for (name, push) in pushes {
        push.await_more(ANSWERS, PATIENCE, &name);
        let (sent, received) = push.stop();
        assert_eq!(sent, received, "{name}\n{}", logs(&bed));
    }
}

#[test]
fn connections_that_the_node_translates_go_on_where_policy_allows_their_backend() {
    const SERVERS: [&str; 2] = ["10.96.0.7", "fd00:10:96::7"];
    const OPEN: [&str; 2] = ["10.96.0.8", "fd00:10:96::8"];
    let mut bed = build(&[service("servers", "server", SERVERS), service("open", "open", OPEN)]);
    follow_connections(&bed);
    let mut clients = Vec::new();
    for (family, at) in Family::ALL.into_iter().zip(0..) {
        let (servers, open) = (SERVERS[at].parse().unwrap(), OPEN[at].parse().unwrap());
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (service, backend) in [(servers, "routed-server"), (open, "routed-open")] {
                let to = SocketAddr::new(address(&bed, backend, family), port(protocol));
                translate(&bed, protocol, SocketAddr::new(service, port(protocol)), to);
            }
            for (from, service, allowed) in [
                ("routed-friend", servers, true),
                ("routed-stranger", servers, false),
                ("bridged-friend", servers, true),
                ("bridged-stranger", servers, false),
                ("routed-friend", open, false),
                ("bridged-friend", open, false),
                ("routed-stranger", open, true),
                ("bridged-stranger", open, true),
            ] {
                clients.push(client(&bed, from, service, protocol, allowed));
            }
        }
    }
    check(&mut bed, clients, Followed::Yes);

    // New connections are the programs' to translate.
    for service in SERVERS {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let to = SocketAddr::new(service.parse().unwrap(), port(protocol));
            let guard = bed.runtime().enter();
            let mut connection =
                Connection::prepare(&bed.pod("t/routed-friend").unwrap().netns, protocol, to).unwrap();
            drop(guard);
            let outcome = bed.runtime().block_on(connection.exchange(MIN_SIZE, PATIENCE));
            assert!(matches!(outcome, Outcome::Answered(_)), "{to} ({}): {outcome:?}", protocol.name());
        }
    }
}
