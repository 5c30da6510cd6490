//! Kustomize and the chart install the same.

use serde_json::Value;

use crate::render::{
    NOWHERE, Objects, WITH_KUBE_PROXY, WITHOUT_KUBE_PROXY, chart, container, containers, kustomize, only,
    own_kustomization, with_components,
};

const CONFIG: &str = "netpol";
/// A hash of what is in the ConfigMap, in its name by kustomize and in an annotation by the chart: how a change rolls out.
const CHECKSUM: &str = "checksum/config";

/// Without what is different by design: the names' hashes; the Namespace, which is `helm install --create-namespace`'s; and labels
/// and order, which do not matter.
fn plain(objects: Objects) -> Objects {
    let hashed = |name: &str| {
        name.strip_prefix("netpol-").is_some_and(|hash| {
            hash.len() == 10 && hash.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        })
    };
    let mut plain = Objects::new();
    for ((kind, name), mut object) in objects {
        if kind == "Namespace" {
            continue;
        }
        if kind == "DaemonSet" {
            let template = &mut object["spec"]["template"];
            if let Some(annotations) =
                template["metadata"].get_mut("annotations").and_then(Value::as_object_mut)
            {
                annotations.remove(CHECKSUM).expect("the chart's checksum");
                assert!(annotations.is_empty());
                template["metadata"].as_object_mut().unwrap().remove("annotations");
            }
            visit(template, &mut |value| {
                if let Some(text) = value.as_str().filter(|text| hashed(text)) {
                    assert!(text.starts_with(CONFIG));
                    *value = CONFIG.into();
                }
            });
        }
        let name = if hashed(&name) { CONFIG.to_owned() } else { name };
        object["metadata"]["name"] = name.clone().into();
        plain.insert((kind, name), object);
    }
    plain
}

fn visit(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    change(value);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| visit(value, change)),
        Value::Object(map) => map.values_mut().for_each(|value| visit(value, change)),
        _ => {}
    }
}

#[test]
fn kustomize_and_the_chart_say_the_same() {
    let server = format!("apiServer={NOWHERE}");
    let server = server.as_str();
    for (folder, components, values) in [
        (WITHOUT_KUBE_PROXY, &[][..], &[server][..]),
        (WITH_KUBE_PROXY, &[], &[server, "services=off"]),
        (
            WITHOUT_KUBE_PROXY,
            &["xdp", "service-monitor", "flow-store"],
            &[server, "xdp=true", "serviceMonitor.enabled=true", "flowStore.enabled=true"],
        ),
    ] {
        let (kustomized, charted) = (plain(with_components(folder, components)), plain(chart(values)));
        let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&kustomized), names(&charted), "{folder}");
        for (key, object) in &kustomized {
            assert_eq!(object, &charted[key], "{folder}: {key:?}");
        }
    }
}

#[test]
fn the_overlays_differ_in_services_and_the_port_of_probes_alone() {
    let (mut without, mut with) = (plain(kustomize(WITHOUT_KUBE_PROXY)), plain(kustomize(WITH_KUBE_PROXY)));
    let config = ("ConfigMap".to_owned(), CONFIG.to_owned());
    let take = |objects: &mut Objects, key: &str| {
        objects.get_mut(&config).unwrap()["data"].as_object_mut().unwrap().remove(key).unwrap()
    };
    assert_eq!((take(&mut without, "services"), take(&mut with, "services")), ("on".into(), "off".into()));
    // kube-proxy has the port at which load balancers ask.
    let binds = (take(&mut without, "healthz-bind"), take(&mut with, "healthz-bind"));
    assert_eq!(binds, ("0.0.0.0:10256".into(), "127.0.0.1:9471".into()));
    let daemon_set = ("DaemonSet".to_owned(), "netpol-agent".to_owned());
    let port = |objects: &mut Objects| {
        let containers = &mut objects.get_mut(&daemon_set).unwrap()["spec"]["template"]["spec"]["containers"];
        containers[0]["ports"][0]["containerPort"].take()
    };
    assert_eq!((port(&mut without), port(&mut with)), (10256.into(), 9471.into()));
    assert_eq!(without, with);
}

#[test]
fn a_change_of_the_configuration_rolls_out() {
    let pods = |objects: &Objects| only(objects, "DaemonSet")["spec"]["template"].clone();
    let chart = |server: &str| pods(&chart(&[&format!("apiServer={server}")]));
    assert_eq!(chart("https://a:6443"), chart("https://a:6443"));
    assert_ne!(chart("https://a:6443"), chart("https://b:6443"));

    let kustomized = |server: &str| {
        let config = format!(
            "configMapGenerator:\n  - name: netpol\n    namespace: netpol-system\n    behavior: merge\n    \
             literals: [\"api-server={server}\"]\n"
        );
        own_kustomization(WITH_KUBE_PROXY, &config)
    };
    let (a, b) = (kustomized("https://a:6443"), kustomized("https://b:6443"));
    assert!(a.contains("api-server: https://a:6443") && !a.contains(NOWHERE), "{a}");
    let name = |text: &str| {
        text.lines().find(|line| line.starts_with("  name: netpol-") && line.len() == 25).map(str::to_owned)
    };
    assert!(name(&a).is_some());
    assert_ne!(name(&a), name(&b));
}

#[test]
fn containers_find_what_they_name() {
    let all = with_components(WITHOUT_KUBE_PROXY, &["xdp", "service-monitor", "flow-store"]);
    for objects in [kustomize(WITHOUT_KUBE_PROXY), all, kustomize(crate::render::UNINSTALL)] {
        let daemon_set = only(&objects, "DaemonSet");
        let pod = &daemon_set["spec"]["template"]["spec"];
        let volumes: Vec<&str> = pod["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|volume| volume["name"].as_str().unwrap())
            .collect();
        let mut mounted = Vec::new();
        for container in containers(daemon_set) {
            assert_eq!(container["image"], containers(daemon_set)[0]["image"]);
            let mounts = container["volumeMounts"].as_array().unwrap();
            mounted.extend(mounts.iter().map(|mount| mount["name"].as_str().unwrap()));
            for variable in container["env"].as_array().into_iter().flatten() {
                if let Some(key) = variable["valueFrom"]["configMapKeyRef"]["key"].as_str() {
                    let config = only(&objects, "ConfigMap");
                    assert_eq!(variable["valueFrom"]["configMapKeyRef"]["name"], config["metadata"]["name"]);
                    assert!(config["data"][key].is_string(), "{key}");
                }
            }
        }
        assert!(mounted.iter().all(|name| volumes.contains(name)), "{mounted:?} {volumes:?}");
        assert!(volumes.iter().all(|name| mounted.contains(name)), "{mounted:?} {volumes:?}");
    }
}

#[test]
fn what_is_taken_out_lies_where_it_was_put() {
    let (run, uninstall) = (kustomize(WITHOUT_KUBE_PROXY), kustomize(crate::render::UNINSTALL));
    let (run, uninstall) = (only(&run, "DaemonSet"), only(&uninstall, "DaemonSet"));
    let volume = |daemon_set: &Value, name: &str| {
        let volumes = daemon_set["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
        volumes.into_iter().find(|volume| volume["name"] == name).unwrap()
    };
    for name in ["bpf", "cni-conf", "cni-bin"] {
        assert_eq!(volume(run, name), volume(uninstall, name));
    }
    for (there, here) in [("cni", "cni"), ("agent", "cleanup")] {
        let mounts =
            |daemon_set, name: &str| container(daemon_set, name)["volumeMounts"].as_array().unwrap().clone();
        for mount in mounts(uninstall, here) {
            assert!(mounts(run, there).contains(&mount), "{mount}");
        }
    }
}
