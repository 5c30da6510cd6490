//! The command lines in the manifests are the agent's.

use std::collections::BTreeMap;

use clap::Parser;
use netpol_agent::{
    config::{Cli, Command, ForServices, RunArgs, Source},
    install::InstallCniArgs,
};
use serde_json::Value;

use crate::render::{
    NOWHERE, Objects, UNINSTALL, WITH_KUBE_PROXY, WITHOUT_KUBE_PROXY, chart, container, kustomize, only,
};

const NODE: &str = "node1";

/// What the container is started with on a node, with its environment put in as the kubelet does, and `config` in place of what the
/// ConfigMap says.
pub(crate) fn line(objects: &Objects, container: &Value, config: &[(&str, &str)], node: &str) -> Vec<String> {
    let data = |key: &str| match config.iter().find(|(name, _)| *name == key) {
        Some((_, value)) => (*value).to_owned(),
        None => only(objects, "ConfigMap")["data"][key].as_str().expect(key).to_owned(),
    };
    let mut environment = BTreeMap::new();
    for variable in container["env"].as_array().into_iter().flatten() {
        let from = &variable["valueFrom"];
        let value = match from["fieldRef"]["fieldPath"].as_str() {
            Some("spec.nodeName") => node.to_owned(),
            Some(other) => panic!("{other}"),
            None => data(from["configMapKeyRef"]["key"].as_str().unwrap()),
        };
        environment.insert(format!("$({})", variable["name"].as_str().unwrap()), value);
    }
    let words = ["command", "args"].iter().flat_map(|list| container[list].as_array().into_iter().flatten());
    words
        .map(|word| {
            let word = word.as_str().unwrap().to_owned();
            let word = environment.iter().fold(word, |word, (name, value)| word.replace(name, value));
            assert!(!word.contains("$("), "{word}");
            word
        })
        .collect()
}

fn parsed(objects: &Objects, name: &str) -> Command {
    let line = line(objects, container(only(objects, "DaemonSet"), name), &[], NODE);
    assert_eq!(line[0], "/netpol-agent");
    Cli::try_parse_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}")).command
}

fn run(objects: &Objects) -> RunArgs {
    match parsed(objects, "agent") {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn cni(objects: &Objects) -> InstallCniArgs {
    match parsed(objects, "cni") {
        Command::InstallCni(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_agent_is_run_as_the_overlay_says() {
    for (folder, services) in [(WITHOUT_KUBE_PROXY, ForServices::On), (WITH_KUBE_PROXY, ForServices::Off)] {
        let args = run(&kustomize(folder));
        assert_eq!((args.node.as_str(), &args.source, args.services), (NODE, &Source::Kube, services));
        assert_eq!(args.api_server.as_deref(), Some(NOWHERE));
        assert_eq!(args.kubeconfig, None);
    }
}

#[test]
fn agent_and_plugin_meet() {
    let objects = kustomize(WITHOUT_KUBE_PROXY);
    let (agent, cni) = (run(&objects), cni(&objects));
    assert!(cni.watch);
    assert_eq!(agent.cni_dir.to_str().unwrap(), cni.cni_dir);
    // The plugin runs on the node: the folder has the same name there.
    let daemon_set = only(&objects, "DaemonSet");
    let mount = container(daemon_set, "agent")["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "run")
        .unwrap();
    let volumes = daemon_set["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "run").unwrap();
    assert_eq!(mount["mountPath"], volume["hostPath"]["path"]);
    assert!(agent.cni_dir.starts_with(mount["mountPath"].as_str().unwrap()));
    assert!(agent.socket.starts_with(mount["mountPath"].as_str().unwrap()));
}

#[test]
fn further_arguments_of_the_chart_reach_the_programs() {
    let objects = chart(&[
        "apiServer=https://10.0.0.1:6443",
        "log=debug",
        "extraArgs={--external-mode=dsr,--ct-max=65536}",
        "cni.extraArgs={--cni-fail-open}",
    ]);
    let args = run(&objects);
    assert_eq!(
        (args.ct_max, args.log.as_str(), args.api_server.as_deref()),
        (Some(65536), "debug", Some("https://10.0.0.1:6443"))
    );
    assert!(cni(&objects).cni_fail_open);
}

#[test]
fn what_is_taken_out_is_what_was_put_in() {
    let (objects, run) = (kustomize(UNINSTALL), run(&kustomize(WITHOUT_KUBE_PROXY)));
    for (name, stay) in [("cleanup", false), ("stay", true)] {
        let Command::Cleanup(args) = parsed(&objects, name) else { panic!("{name}") };
        assert_eq!((args.pin_dir, args.stay), (run.pin_dir.clone(), stay));
    }
    let Command::UninstallCni(folders) = parsed(&objects, "cni") else { panic!() };
    assert_eq!(folders, cni(&kustomize(WITHOUT_KUBE_PROXY)).folders);
}

#[test]
fn the_seccomp_profile_is_installed_where_the_kubelet_looks_for_it() {
    let objects = kustomize(WITHOUT_KUBE_PROXY);
    let Command::InstallSeccomp(args) = parsed(&objects, "seccomp") else { panic!() };
    let daemon_set = only(&objects, "DaemonSet");
    let profile = &container(daemon_set, "agent")["securityContext"]["seccompProfile"];
    assert_eq!(profile["type"], "Localhost");
    let mount = &container(daemon_set, "seccomp")["volumeMounts"][0];
    assert_eq!(mount["mountPath"].as_str(), args.dir.to_str());
    let volumes = daemon_set["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
    let file = format!("{}/agent.json", volume["hostPath"]["path"].as_str().unwrap());
    assert_eq!(file, format!("/var/lib/kubelet/seccomp/{}", profile["localhostProfile"].as_str().unwrap()));
}
