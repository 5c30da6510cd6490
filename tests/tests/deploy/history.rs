//! What pods did outlives the agent's container, where a component asks for it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use netpol_agent::ctl::{
    Client,
    api::{Request, Response, SuggestRequest, Suggested},
};
use netpol_tests::eventually;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cluster::{PATIENCE, agent, assert_enforced, await_sync, bed, objects},
    render::{WITHOUT_KUBE_PROXY, container, only, with_components},
};

fn suggested(socket: &Path) -> Suggested {
    let request = Request::Suggest(SuggestRequest { namespace: "t".to_owned(), since: None });
    let answer = |response| if let Response::Suggested(answer) = response { Some(*answer) } else { None };
    Client::connect(socket).unwrap().ask(&request, answer).unwrap()
}

#[test]
fn what_pods_did_lies_on_the_node_and_the_next_container_knows_it() {
    let manifest = with_components(WITHOUT_KUBE_PROXY, &["flow-store"]);
    let mounts = container(only(&manifest, "DaemonSet"), "agent")["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().any(|mount| mount["name"] == "flow-store"), "{mounts:?}");
    let mut bed = bed();
    let folder = bed.node("node1").unwrap().folder.clone();
    let volume = folder.join("flow-store");
    fs::create_dir(&volume).unwrap();
    bed.apply(&objects()).unwrap();
    let start = |bed| {
        let mut spec = agent(bed, "node1", &manifest);
        spec.volumes.insert("flow-store", volume.clone());
        spec.start()
    };
    let mut before = start(&bed);
    await_sync(&bed, "node1", &mut before, 2);
    assert_enforced(&bed, "client", std::slice::from_ref(&before));
    let pid = before.pid().expect("it runs");
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    eventually(PATIENCE, "it ends", || before.ended().is_some());
    assert_eq!(before.ended(), Some(true), "{}", before.log());
    drop(before);

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let flows = volume.join("flows");
    assert_eq!((mode(&flows), mode(&flows.join("flows.jsonl"))), (0o700, 0o600));
    let mut after = start(&bed);
    await_sync(&bed, "node1", &mut after, 2);
    let Suggested { known, suggestion } = suggested(&folder.join("run/netpol.sock"));
    assert_eq!((known.place.as_str(), &known.gaps), ("/var/lib/netpol/flows", &vec![]));
    let names: Vec<_> = suggestion.policies.iter().filter_map(|p| p.metadata.name.as_deref()).collect();
    assert_eq!(names, ["server"], "{suggestion:?}");
    assert!(!after.log().contains("ERROR"), "{}", after.log());
}
