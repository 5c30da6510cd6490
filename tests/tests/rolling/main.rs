//! Backends of a Service are replaced, all of them go and come back, agents die and come back: what its clients see of it.

mod load;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use load::{Failure, Load};
use netpol_agent::model::ObjectRef;
use netpol_tests::bed::{AgentOptions, Bed, ClusterSpec, Place};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(60);
const ADDRESSES: [&str; 2] = ["10.96.0.80", "fd00:10:96::80"];
/// By way of node1.
const BALANCER: [&str; 2] = ["198.18.1.80", "2001:db8:113:1::80"];
const NODE_PORT: u16 = 30_080;
/// To each of two addresses from pods of two nodes, and to each of four from outside.
const CLIENTS: usize = 8;
/// Of each client: 500 new connections a second in all.
const PACE: Duration = Duration::from_millis(16);
/// Kept connections of each: 56 in all.
const KEPT: usize = 7;

/// What a slice says of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ready,
    /// Asked to end, and still answering.
    Terminating,
}

struct Shop {
    bed: Bed,
    backends: Vec<(String, State)>,
    load: Load,
    began: Instant,
    /// When somebody answered, wherever one asked.
    spans: Vec<(Instant, Instant)>,
    up_since: Option<Instant>,
    /// When nobody was there, as every agent knew.
    empty: Vec<(Instant, Instant)>,
}

fn pod(name: &str, node: &str, port: Option<u16>) -> Value {
    let ports: Vec<_> = port.iter().map(|port| json!({"containerPort": port})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": ports}]},
    })
}

impl Shop {
    fn open() -> Self {
        let mut bed =
            Bed::build(&ClusterSpec { outside: vec!["client".to_owned()], ..ClusterSpec::default() })
                .unwrap();
        bed.start_agents(&AgentOptions::default()).unwrap();
        bed.apply(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {
                    "type": "LoadBalancer", "clusterIPs": ADDRESSES,
                    "ports": [{"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}],
                },
                "status": {"loadBalancer": {"ingress": BALANCER.map(|ip| json!({"ip": ip}))}},
            }),
            pod("near", "node1", None),
            pod("far", "node2", None),
        ])
        .unwrap();
        Self {
            bed,
            backends: Vec::new(),
            load: Load::new(),
            began: Instant::now(),
            spans: Vec::new(),
            up_since: None,
            empty: Vec::new(),
        }
    }

    /// Clients on both nodes, and one beyond them, begin to ask.
    fn send_clients(&mut self) {
        let at = |addr: &str| SocketAddr::new(addr.parse().unwrap(), 80);
        let node_ports = &self.bed.node("node2").unwrap().addresses;
        let outside: Vec<_> = (BALANCER.iter().map(|addr| at(addr)))
            .chain(node_ports.iter().map(|addr| SocketAddr::new(*addr, NODE_PORT)))
            .collect();
        let inside = ADDRESSES.map(at).to_vec();
        for (client, to) in [
            (Place::Pod("shop/near".to_owned()), &inside),
            (Place::Pod("shop/far".to_owned()), &inside),
            (Place::Outside("client".to_owned()), &outside),
        ] {
            let netns = self.bed.netns(&client).unwrap();
            for to in to {
                self.load.open_every(PACE, Arc::clone(&netns), *to);
            }
            self.load.keep(KEPT, netns, to.clone());
        }
        self.began = Instant::now();
        self.load.await_kept(CLIENTS * KEPT).unwrap();
    }

    fn node_of(name: &str) -> &'static str {
        if name.ends_with('b') { "node2" } else { "node1" }
    }

    /// Starts pods and, once they serve, says that they are ready.
    fn add(&mut self, names: &[&str]) {
        let pods: Vec<_> = names.iter().map(|name| pod(name, Self::node_of(name), Some(8080))).collect();
        self.bed.apply(&pods).unwrap();
        self.backends.extend(names.iter().map(|name| ((*name).to_owned(), State::Ready)));
        self.publish();
    }

    /// Asks pods to end, lets their clients go elsewhere, and ends them.
    fn end(&mut self, names: &[&str]) {
        for (_, state) in self.backends.iter_mut().filter(|(name, _)| names.contains(&name.as_str())) {
            *state = State::Terminating;
        }
        self.publish();
        // A pod's grace period is there for this: that every node has heard of it.
        self.bed.await_agents(START).unwrap();
        if names.len() == self.backends.len() {
            self.down();
        }
        let pods: Vec<_> = names.iter().map(|name| format!("shop/{name}")).collect();
        let pods: Vec<_> = pods.iter().map(String::as_str).collect();
        self.load.drain(&pods).unwrap();
        self.backends.retain(|(name, _)| !names.contains(&name.as_str()));
        self.publish();
        let gone = names.iter().map(|name| ObjectRef {
            kind: "Pod".to_owned(),
            namespace: "shop".to_owned(),
            name: (*name).to_owned(),
        });
        self.bed.delete(&gone.collect::<Vec<_>>()).unwrap();
    }

    /// Writes the slices, as the cluster's controller would.
    fn publish(&mut self) {
        let slices = [("IPv4", true), ("IPv6", false)].map(|(family, v4)| {
            let endpoints: Vec<_> = self
                .backends
                .iter()
                .map(|(name, state)| {
                    let pod = self.bed.pod(&format!("shop/{name}")).unwrap();
                    let address = pod.addresses.iter().find(|a: &&IpAddr| a.is_ipv4() == v4).unwrap();
                    let ready = *state == State::Ready;
                    json!({
                        "addresses": [address], "nodeName": pod.node,
                        "conditions": {"ready": ready, "serving": true, "terminating": !ready},
                    })
                })
                .collect();
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("web-{}", family.to_lowercase()), "namespace": "shop",
                    "labels": {"kubernetes.io/service-name": "web"},
                },
                "addressType": family,
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
                "endpoints": endpoints,
            })
        });
        self.bed.apply(&slices).unwrap();
    }

    /// Somebody answers from now on.
    fn up(&mut self) {
        self.bed.await_agents(START).unwrap();
        self.up_since = Some(self.load.set_up(true));
    }

    /// Nobody may answer from now on.
    fn down(&mut self) {
        let until = self.load.set_up(false);
        self.spans.extend(self.up_since.take().map(|since| (since, until)));
    }

    /// Ends the clients; none of them has failed while somebody answered.
    fn close(mut self, at_least: usize) {
        self.down();
        let took = self.began.elapsed();
        let report = self.load.stop().unwrap();
        println!("{}", report.summary(took).unwrap());
        let failures: Vec<_> = report.failures_within(&self.spans).map(Failure::to_string).collect();
        let logs: String = self.bed.agents().iter().map(netpol_tests::bed::Agent::log).collect();
        assert!(failures.is_empty(), "{failures:#?}\n{logs}");
        let broken: Vec<_> = report.failures.iter().filter(|failure| failure.established).collect();
        assert!(broken.is_empty(), "{}\n{logs}", broken[0]);
        assert!(report.opened >= at_least, "{} connections prove little", report.opened);
        for empty in self.empty.chunks(1) {
            let failures: Vec<_> = report.failures_within(empty).collect();
            assert!(!failures.is_empty(), "nobody was there, and nobody was refused");
            for failure in failures {
                assert_eq!(failure.error, io::ErrorKind::ConnectionRefused, "nobody was there: {failure}");
            }
        }
    }
}

#[test]
fn a_rolling_update_and_back_fails_no_client() {
    let mut shop = Shop::open();
    shop.add(&["v1-a", "v1-b", "v1-c"]);
    shop.up();
    shop.send_clients();
    for (old, new) in [("v1", "v2"), ("v2", "v3")] {
        for letter in ["a", "b", "c"] {
            shop.add(&[&format!("{new}-{letter}")]);
            shop.end(&[&format!("{old}-{letter}")]);
            shop.load.await_opened(200).unwrap();
        }
    }
    shop.close(1000);
}

#[test]
fn backends_that_all_go_and_come_back_fail_nobody_while_one_is_ready() {
    let mut shop = Shop::open();
    for round in ["v1", "v2", "v3"] {
        let pods = ["a", "b", "c"].map(|letter| format!("{round}-{letter}"));
        let pods = pods.each_ref().map(String::as_str);
        shop.add(&pods);
        shop.up();
        if round == "v1" {
            shop.send_clients();
        }
        shop.load.await_kept(CLIENTS * KEPT).unwrap();
        shop.load.await_opened(300).unwrap();
        if round != "v3" {
            shop.end(&pods);
            shop.bed.await_agents(START).unwrap();
            // Everybody asks while nobody is there.
            let nobody_since = Instant::now();
            shop.load.pass().unwrap();
            shop.empty.push((nobody_since, Instant::now()));
        }
    }
    shop.close(900);
}

#[test]
fn agents_that_die_and_come_back_fail_no_client() {
    let mut shop = Shop::open();
    shop.add(&["v1-a", "v1-b"]);
    shop.up();
    shop.send_clients();
    for node in ["node1", "node2"] {
        shop.bed.take_agent(node).unwrap().kill().unwrap();
        shop.load.pass().unwrap();
        shop.bed.start_agent(node, &AgentOptions::default()).unwrap();
        shop.bed.await_agents(START).unwrap();
        // The cluster has changed meanwhile, or changes now.
        shop.add(&[&format!("v2-{node}")]);
        shop.bed.await_agents(START).unwrap();
        shop.load.pass().unwrap();
        assert!(shop.bed.take_agent(node).unwrap().stop().unwrap().success());
        shop.end_while_away(node);
        shop.load.await_opened(250).unwrap();
    }
    shop.close(500);
}

impl Shop {
    /// What an agent that is away misses, the other one sees: nobody ends before both know.
    fn end_while_away(&mut self, node: &str) {
        self.bed.start_agent(node, &AgentOptions::default()).unwrap();
        self.bed.await_agents(START).unwrap();
        self.end(&[&format!("v2-{node}")]);
        self.bed.await_agents(START).unwrap();
    }
}
