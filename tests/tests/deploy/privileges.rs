//! The agent does all its work with what the manifest grants it, in the real kernel, and has nothing else.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use netpol_tests::{
    bed::{Bed, object_ref},
    eventually,
};
use serde_json::Value;

use crate::{
    cluster::{PATIENCE, TOKEN, agent, assert_enforced, await_sync, bed, objects, policy, status},
    container::Running,
    render::{Objects, WITHOUT_KUBE_PROXY, container, kustomize, only, with_components},
};

/// Capabilities by their bits (include/uapi/linux/capability.h), as manifests name them.
const CAPABILITIES: [(&str, u32); 7] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("NET_BROADCAST", 11),
    ("NET_ADMIN", 12),
    ("SYS_ADMIN", 21),
    ("PERFMON", 38),
    ("BPF", 39),
];

fn granted(objects: &Objects) -> BTreeSet<&'static str> {
    let names = &container(only(objects, "DaemonSet"), "agent")["securityContext"]["capabilities"]["add"];
    let known =
        |name: &Value| CAPABILITIES.iter().find(|(known, _)| name == known).expect("a known capability").0;
    names.as_array().unwrap().iter().map(known).collect()
}

/// A field of `/proc/PID/status`.
fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{name} in {status}")).trim().to_owned()
}

fn set(pid: u32, name: &str) -> BTreeSet<&'static str> {
    let bits = u64::from_str_radix(&field(pid, name), 16).unwrap();
    let found: BTreeSet<_> =
        CAPABILITIES.iter().filter(|(_, bit)| bits & (1 << bit) != 0).map(|(name, _)| *name).collect();
    assert_eq!(found.len(), bits.count_ones() as usize, "{name}: {bits:x}");
    found
}

/// What the running process has is what the manifest says.
fn assert_confined(agent: &Running, granted: &BTreeSet<&str>) {
    let pid = agent.pid().expect("it runs");
    for name in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(&set(pid, name), granted, "{name}");
    }
    assert!(set(pid, "CapInh").is_empty() && set(pid, "CapAmb").is_empty());
    assert_eq!((field(pid, "NoNewPrivs").as_str(), field(pid, "Seccomp").as_str()), ("1", "2"));
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let options = |point: &str| {
        let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some(point));
        line.and_then(|line| line.split(' ').nth(5)).unwrap_or_else(|| panic!("{point} in {mounts}"))
    };
    for read_only in ["/", "/host/netns", "/host/cgroup", "/proc/sys"] {
        assert!(options(read_only).starts_with("ro"), "{read_only}: {}", options(read_only));
    }
}

fn assert_files(bed: &Bed, node: &str) {
    let run = bed.node(node).unwrap().folder.join("run");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&run.join("netpol.sock")), 0o660);
    assert_eq!(mode(&run.join("cni/agent.sock")), 0o600);
}

#[test]
fn the_agent_works_with_exactly_what_the_manifest_grants() {
    let manifest = kustomize(WITHOUT_KUBE_PROXY);
    let mut bed = bed();
    // node2 as before kernel 6.6.
    let start = |bed: &Bed| {
        let spec = agent(bed, "node2", &manifest);
        let mut config = spec.config();
        config["process"]["args"].as_array_mut().unwrap().push("--attach=clsact".into());
        [agent(bed, "node1", &manifest).start(), spec.start_as(&config)]
    };
    let mut agents = start(&bed);
    // Pods come while the agents run: their namespaces must be seen from inside the containers.
    for node in ["node1", "node2"] {
        eventually(PATIENCE, node, || status(bed.node(node).unwrap()).is_some());
    }
    bed.apply(&objects()).unwrap();
    let sync = |bed: &Bed, agents: &mut [Running; 2]| {
        for ((node, pods), agent) in [("node1", 2), ("node2", 1)].into_iter().zip(agents) {
            let status = await_sync(bed, node, agent, pods);
            assert!(status.node_services.starts_with("on, cgroup /host/cgroup"), "{}", status.node_services);
            assert_eq!(status.problems.len(), 0, "{:?}", status.problems);
            assert_confined(agent, &granted(&manifest));
            assert_files(bed, node);
        }
    };
    sync(&bed, &mut agents);
    assert_enforced(&bed, "client", &agents);

    // Taking over what another agent has left takes no more.
    let before = agents.map(|agent| agent.log());
    bed.apply(&[policy("stranger")]).unwrap();
    let mut agents = start(&bed);
    sync(&bed, &mut agents);
    assert_enforced(&bed, "stranger", &agents);
    bed.delete(&[object_ref(&policy("stranger")).unwrap()]).unwrap();
    sync(&bed, &mut agents);
    for log in before.iter().cloned().chain(agents.iter().map(Running::log)) {
        assert!(!log.contains("ERROR") && !log.contains(TOKEN), "{log}");
    }
}

#[test]
fn without_one_of_its_capabilities_the_agent_says_what_it_cannot_do() {
    let manifest = kustomize(WITHOUT_KUBE_PROXY);
    let bed = bed();
    for (taken, said) in [
        ("CAP_BPF", "cannot take over or set up the dataplane"),
        ("CAP_NET_ADMIN", "cannot take over or set up the dataplane"),
        ("CAP_PERFMON", "cannot load program"),
        ("CAP_NET_BROADCAST", "netlink: subscribe: Operation not permitted"),
    ] {
        let spec = agent(&bed, "node1", &manifest);
        let mut config = spec.config();
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().retain(|name| name != taken);
        }
        let mut agent = spec.start_as(&config);
        eventually(PATIENCE, &format!("it ends without {taken}"), || agent.ended().is_some());
        assert_eq!(agent.ended(), Some(false));
        assert!(agent.log().contains(said), "{taken}: {}", agent.log());
        fs::remove_file(agent.log_file()).unwrap();
    }
}

#[test]
fn with_one_more_capability_xdp_is_tested_and_without_it_the_status_says_why_not() {
    let bed = bed();
    for (manifest, said) in [
        (kustomize(WITHOUT_KUBE_PROXY), "the self-test failed: cannot make a network namespace"),
        // The self-test has passed: what is left is the uplink's own kind.
        (
            with_components(WITHOUT_KUBE_PROXY, &["xdp"]),
            "a veth sends frames only if its other end has an XDP program",
        ),
    ] {
        let mut agent = agent(&bed, "node1", &manifest).start();
        await_sync(&bed, "node1", &mut agent, 0);
        assert_confined(&agent, &granted(&manifest));
        assert!(agent.log().contains(said), "{}", agent.log());
        fs::remove_file(agent.log_file()).unwrap();
    }
}
