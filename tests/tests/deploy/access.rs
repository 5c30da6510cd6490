//! The agent may do what it does, and nothing else.

use std::collections::BTreeSet;

use netpol_agent::ctl::api::Status;
use netpol_tests::{
    apiserver::{RESOURCES, Rights},
    eventually,
};
use serde_json::Value;

use crate::{
    cluster::{PATIENCE, agent, assert_enforced, await_sync, bed, objects, status},
    render::{WITHOUT_KUBE_PROXY, container, containers, kustomize, only},
};

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_may_read_the_kinds_that_it_follows_and_write_events() {
    let watched = RESOURCES.iter().filter(|resource| resource.is_watched());
    let read = watched.flat_map(|r| ["get", "list", "watch"].map(|verb| (r.group(), r.plural, verb)));
    let events = ["create", "patch"].map(|verb| ("events.k8s.io", "events", verb));
    let needed: BTreeSet<_> = read.chain(events).collect();
    let objects = kustomize(WITHOUT_KUBE_PROXY);
    let role = only(&objects, "ClusterRole");
    assert_eq!(Rights::of_role(role).iter().collect::<BTreeSet<_>>(), needed);
    // Nothing hides in a rule of another form.
    for rule in role["rules"].as_array().unwrap() {
        let keys: Vec<&String> = rule.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["apiGroups", "resources", "verbs"]);
    }
}

#[test]
fn it_is_bound_to_the_account_of_its_pods_alone() {
    let objects = kustomize(WITHOUT_KUBE_PROXY);
    let account = &only(&objects, "ServiceAccount")["metadata"];
    let binding = only(&objects, "ClusterRoleBinding");
    let subjects = binding["subjects"].as_array().unwrap();
    assert_eq!(subjects.len(), 1);
    assert_eq!((&subjects[0]["name"], &subjects[0]["namespace"]), (&account["name"], &account["namespace"]));
    assert_eq!(binding["roleRef"]["name"], only(&objects, "ClusterRole")["metadata"]["name"]);
    let pod = &only(&objects, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], account["name"]);
}

#[test]
fn no_container_has_more_than_it_asks_for() {
    for folder in [WITHOUT_KUBE_PROXY, crate::render::UNINSTALL] {
        let objects = kustomize(folder);
        let daemon_set = only(&objects, "DaemonSet");
        for container in containers(daemon_set) {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(texts(&context["capabilities"]["drop"]), ["ALL"]);
            assert!(context["privileged"].is_null());
            assert!(context["seccompProfile"]["type"].is_string());
        }
        let pod = &daemon_set["spec"]["template"]["spec"];
        assert!(pod["hostPID"].is_null() && pod["hostIPC"].is_null());
    }
    let objects = kustomize(WITHOUT_KUBE_PROXY);
    let agent = container(only(&objects, "DaemonSet"), "agent");
    let writable: Vec<&str> = agent["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["readOnly"] != true)
        .map(|mount| mount["name"].as_str().unwrap())
        .collect();
    assert_eq!(writable, ["bpf", "run"]);
}

#[test]
fn with_one_verb_less_the_agent_names_it_and_puts_nothing_by_halves_in_force() {
    let manifest = kustomize(WITHOUT_KUBE_PROXY);
    let all = Rights::of_role(only(&manifest, "ClusterRole"));
    let mut bed = bed();
    let server = bed.api_server().unwrap().clone();
    server.set_faults(|faults| {
        faults.rights = Some(all.without("networking.k8s.io", "networkpolicies", "watch"));
    });
    let mut agents = ["node1", "node2"].map(|node| agent(&bed, node, &manifest).start());
    bed.apply(&objects()).unwrap();
    let said = "cannot watch resource \"networkpolicies\" in API group \"networking.k8s.io\"";
    let named = |status: Status| status.problems.iter().any(|problem| problem.message.contains(said));
    eventually(PATIENCE, "the status names the verb", || {
        status(bed.node("node1").unwrap()).is_some_and(|status| !status.synced && named(status))
    });
    // It is written after the status is known. The log has the text in quotes.
    eventually(PATIENCE, "the log names the verb", || agents[0].log().replace('\\', "").contains(said));
    server.set_faults(|faults| faults.rights = Some(all));
    for ((node, pods), agent) in [("node1", 2), ("node2", 1)].into_iter().zip(&mut agents) {
        let status = await_sync(&bed, node, agent, pods);
        assert_eq!(status.problems.len(), 0, "{:?}", status.problems);
    }
    assert_enforced(&bed, "client", &agents);
}
