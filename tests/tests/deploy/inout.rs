//! Put in and taken out by the containers of the manifests, each with its own rights.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};

use netpol_tests::{
    bed::{Bed, Family, Place},
    eventually,
    probe::{Cell, Protocol},
};
use serde_json::Value;

use crate::{
    cluster::{PATIENCE, agent, assert_enforced, await_sync, bed, objects, part},
    container::Running,
    render::{Objects, UNINSTALL, WITHOUT_KUBE_PROXY, kustomize},
};

/// Whose the runtime's folders are on some nodes.
const OTHER: u32 = 1000;
const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "k8s", "plugins": [{"type": "ptp"}]}"#;

fn plugins(list: &Path) -> usize {
    let list: Value = serde_json::from_slice(&fs::read(list).unwrap()).unwrap_or_default();
    list["plugins"].as_array().map_or(0, Vec::len)
}

/// Runs a container that comes to an end.
#[track_caller]
fn complete(bed: &Bed, manifest: &Objects, name: &str) {
    let mut running = part(bed, "node1", manifest, name).start();
    eventually(PATIENCE, &format!("{name} ends"), || running.ended().is_some());
    assert_eq!(running.ended(), Some(true), "{name}: {}", running.log());
}

#[test]
fn what_the_manifests_put_in_they_take_out() {
    let (manifest, uninstall) = (kustomize(WITHOUT_KUBE_PROXY), kustomize(UNINSTALL));
    let mut bed = bed();
    let folder = bed.node("node1").unwrap().folder.clone();
    let (list, plugin) = (folder.join("net.d/10-k8s.conflist"), folder.join("cni-bin/netpol-cni"));
    fs::write(&list, LIST).unwrap();
    for path in [&folder.join("net.d"), &folder.join("cni-bin"), &list] {
        chown(path, Some(OTHER), Some(OTHER)).unwrap();
    }

    complete(&bed, &manifest, "seccomp");
    assert!(folder.join("seccomp/agent.json").is_file());
    let cni = part(&bed, "node1", &manifest, "cni").start();
    eventually(PATIENCE, "the plugin is chained", || plugins(&list) == 3);
    assert!(plugin.is_file());
    assert_eq!(fs::metadata(&list).unwrap().uid(), OTHER);
    let mut agents = ["node1", "node2"].map(|node| agent(&bed, node, &manifest).start());
    bed.apply(&objects()).unwrap();
    for ((node, pods), agent) in [("node1", 2), ("node2", 1)].into_iter().zip(&mut agents) {
        await_sync(&bed, node, agent, pods);
    }
    assert_enforced(&bed, "client", &agents);

    // The DaemonSet goes, and with it what watches the runtime's configuration; its programs stay.
    drop::<(Running, [Running; 2])>((cni, agents));
    assert_enforced(&bed, "client", &[]);
    for name in ["cni", "cleanup"] {
        complete(&bed, &uninstall, name);
    }
    assert_eq!((plugins(&list), plugin.exists()), (1, false));
    assert!(!folder.join("bpf/netpol").exists());
    let open: Vec<_> = Family::ALL
        .into_iter()
        .map(|family| {
            let from = Place::Pod("t/stranger".to_owned());
            (Cell { from, to: "t/server".to_owned(), protocol: Protocol::Tcp, port: 80, family }, true)
        })
        .collect();
    assert_eq!(bed.settle(&open, PATIENCE).unwrap(), []);
    let stay = part(&bed, "node1", &uninstall, "stay").start();
    eventually(PATIENCE, "it stays", || stay.pid().is_some());
}
