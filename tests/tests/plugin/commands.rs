//! What the plugin says, and what becomes of its pods when the agent is away or comes back.

use std::{fs, thread};

use netpol_agent::ctl::api::{EndpointState, EndpointView};
use netpol_tests::flows::status;
use netpol_tests::{
    bed::{AgentOptions, Bed, Called, Chain, Container, Family, Netns, Node, object_ref, sandbox},
    eventually,
};
use serde_json::{Value, json};

use crate::ground::{PATIENCE, bed, container, endpoints, plugin_dir, ptp, unstarted};

struct Started {
    netns: Netns,
    who: Container,
    object: Value,
    called: Called,
}

fn node(bed: &Bed) -> &Node {
    bed.node("node1").unwrap()
}

/// A pod whose kubelet has called the chain, and whose status has no address yet.
fn start(bed: &mut Bed, chain: &Chain, name: &str) -> Started {
    let object = unstarted(name, name, "started");
    bed.tell(&object).unwrap();
    let netns = sandbox(node(bed), &format!("cni-{name}")).unwrap();
    let who = container(name, name, &netns);
    let called = chain.call(node(bed), "ADD", &who, &Value::Null).unwrap();
    Started { netns, who, object, called }
}

impl Started {
    fn end(self, bed: &mut Bed, chain: &Chain) {
        chain.call(node(bed), "DEL", &self.who, &self.called.result).unwrap();
        self.netns.delete().unwrap();
        bed.delete(&[object_ref(&self.object).unwrap()]).unwrap();
    }
}

fn is_ready(bed: &Bed, name: &str) -> bool {
    let is_its = |e: &EndpointView| e.pod.as_ref().is_some_and(|pod| &*pod.name == name);
    endpoints(bed).iter().any(|e| is_its(e) && e.state == EndpointState::Ready)
}

fn records(bed: &Bed) -> usize {
    fs::read_dir(plugin_dir(node(bed)).join("pods")).map_or(0, Iterator::count)
}

/// What the plugin alone says, in a list with these keys.
fn call(bed: &Bed, command: &str, who: &Container, keys: Value, previous: &Value) -> Result<Value, String> {
    let mut plugin = json!({"type": "netpol-cni", "dir": plugin_dir(node(bed)), "timeoutSeconds": 1});
    for (key, value) in keys.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    let chain = Chain { version: "1.1.0".to_owned(), plugins: Vec::new(), added: json!({}) };
    chain.call_one(node(bed), &plugin, command, who, previous).map_err(|error| format!("{error:#}"))
}

#[track_caller]
fn assert_fails(result: Result<Value, String>, code: u32, named: &str) {
    let error = result.unwrap_err();
    assert!(error.contains(&format!("\"code\":{code}")) && error.contains(named), "{error}");
}

#[test]
fn a_pod_is_known_by_its_wiring_until_it_is_unwired_and_again_after_a_restart() {
    let mut bed = bed(&Family::ALL);
    let chain = ptp(node(&bed), &[]);
    let (a, b) = (start(&mut bed, &chain, "a"), start(&mut bed, &chain, "b"));
    assert!(is_ready(&bed, "a") && is_ready(&bed, "b"));
    chain.call(node(&bed), "CHECK", &a.who, &a.called.result).unwrap();

    bed.take_agent("node1").unwrap().kill().unwrap();
    bed.start_agents(&AgentOptions::default()).unwrap();
    eventually(PATIENCE, "both are found again", || {
        status(&bed.agents()[0]).is_ok_and(|status| status.endpoints.ready == 2)
    });

    // A second network of the same pod.
    let mut second = a.who.clone();
    second.ifname = "net1".to_owned();
    let previous = json!({"ips": [{"address": "10.9.9.9/24"}]});
    assert_fails(call(&bed, "ADD", &second, json!({}), &previous), 100, "eth0 of container cni-a");

    let valid = |who: &Container| json!([{"containerID": who.id, "ifname": who.ifname}]);
    call(&bed, "GC", &a.who, json!({"cni.dev/valid-attachments": valid(&a.who), "name": "x"}), &Value::Null)
        .unwrap();
    assert_eq!(records(&bed), 2, "those of another network are none of ours");
    call(&bed, "GC", &a.who, json!({"cni.dev/valid-attachments": valid(&a.who)}), &Value::Null).unwrap();
    eventually(PATIENCE, "b is collected", || !is_ready(&bed, "b"));
    assert!(is_ready(&bed, "a") && records(&bed) == 1);
    for pod in [a, b] {
        pod.end(&mut bed, &chain);
    }
    assert_eq!(records(&bed), 0);
    eventually(PATIENCE, "nothing is left", || endpoints(&bed).is_empty());
}

#[test]
fn without_an_agent_nothing_starts_unless_the_configuration_says_so_and_everything_ends() {
    let mut bed = bed(&[Family::V4]);
    let chain = ptp(node(&bed), &[]);
    let running = start(&mut bed, &chain, "running");
    call(&bed, "STATUS", &running.who, json!({}), &Value::Null).unwrap();
    bed.take_agent("node1").unwrap().kill().unwrap();

    let socket = plugin_dir(node(&bed)).join("agent.sock").display().to_string();
    let late = sandbox(node(&bed), "cni-late").unwrap();
    let who = container("late", "late", &late);
    let previous =
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.244.1.99/24"}], "others": {"z": 1, "a": 2}});
    assert_fails(call(&bed, "ADD", &who, json!({}), &previous), 11, &socket);
    assert_fails(call(&bed, "CHECK", &who, json!({}), &previous), 11, &socket);
    assert_fails(call(&bed, "STATUS", &who, json!({}), &Value::Null), 50, &socket);
    let open = json!({"failOpen": true});
    assert_eq!(call(&bed, "ADD", &who, open.clone(), &previous).unwrap(), previous);
    call(&bed, "STATUS", &who, open, &Value::Null).unwrap();
    // What is wrong with the call is so whoever is away.
    assert_fails(call(&bed, "ADD", &who, json!({"failOpen": true}), &Value::Null), 7, "prevResult");

    assert_eq!(records(&bed), 1);
    running.end(&mut bed, &chain);
    assert_eq!(records(&bed), 0);
    late.delete().unwrap();
}

#[test]
fn add_waits_for_the_right_pod_and_says_what_it_has_waited_for() {
    let mut bed = bed(&[Family::V4]);
    let chain = ptp(node(&bed), &[]);
    let netns = sandbox(node(&bed), "cni-p").unwrap();
    let who = container("p", "new", &netns);
    let wired = Chain { plugins: chain.plugins[..2].to_vec(), ..chain.clone() };
    let previous = wired.call(node(&bed), "ADD", &who, &Value::Null).unwrap().result;
    let add = |bed: &Bed| call(bed, "ADD", &who, json!({}), &previous);

    assert_fails(add(&bed), 11, "the source has not told of the Pod");
    let mut object = unstarted("p", "old", "started");
    bed.tell(&object).unwrap();
    assert_fails(add(&bed), 11, "only of an earlier one with UID old");
    object["metadata"]["uid"] = json!("new");
    object["spec"]["nodeName"] = json!("node9");
    bed.tell(&object).unwrap();
    assert_fails(add(&bed), 11, "another node's");
    object["spec"]["nodeName"] = json!("node1");

    // The object comes while the plugin waits.
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let plugin = json!({"type": "netpol-cni", "dir": plugin_dir(node(&bed))});
            chain.call_one(node(&bed), &plugin, "ADD", &who, &previous)
        });
        let record = plugin_dir(node(&bed)).join("pods").join("cni-p@eth0.json");
        eventually(PATIENCE, "the plugin has asked", || record.exists());
        // The file that the bed would write, which may not be borrowed twice.
        let text = serde_json::to_string(&object).unwrap();
        fs::write(bed.manifests().join("pod.t.p.yaml"), text).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(waiting.unwrap(), previous);
    assert!(is_ready(&bed, "p"));
    // In another namespace the pod's interface is not.
    let other = sandbox(node(&bed), "cni-q").unwrap();
    let imposter = Container { id: "cni-q".to_owned(), netns: other.path().to_owned(), ..who.clone() };
    assert_fails(call(&bed, "ADD", &imposter, json!({}), &previous), 11, "another network namespace, cni-p");
    call(&bed, "DEL", &imposter, json!({}), &Value::Null).unwrap();
    chain.call(node(&bed), "DEL", &who, &previous).unwrap();
    for netns in [netns, other] {
        netns.delete().unwrap();
    }
}
