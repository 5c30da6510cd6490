//! Every manifest is what the API knows, field by field.

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Namespace, Service, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::render::{
    NOWHERE, Objects, UNINSTALL, WITH_KUBE_PROXY, WITHOUT_KUBE_PROXY, chart, chart_text, kustomize,
    with_components,
};

/// What the Prometheus operator's type has, as far as it is used here.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ServiceMonitor {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: ServiceMonitorSpec,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceMonitorSpec {
    selector: LabelSelector,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    port: String,
    relabelings: Vec<Relabeling>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Relabeling {
    source_labels: Vec<String>,
    target_label: String,
}

/// What is wrong with an object: a value of the wrong type, or a field that its kind does not have.
fn faults(object: &Value) -> Vec<String> {
    match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some("v1"), Some("Namespace")) => faults_of::<Namespace>(object),
        (Some("v1"), Some("ConfigMap")) => faults_of::<ConfigMap>(object),
        (Some("v1"), Some("Service")) => faults_of::<Service>(object),
        (Some("v1"), Some("ServiceAccount")) => faults_of::<ServiceAccount>(object),
        (Some("apps/v1"), Some("DaemonSet")) => faults_of::<DaemonSet>(object),
        (Some("rbac.authorization.k8s.io/v1"), Some("ClusterRole")) => faults_of::<ClusterRole>(object),
        (Some("rbac.authorization.k8s.io/v1"), Some("ClusterRoleBinding")) => {
            faults_of::<ClusterRoleBinding>(object)
        }
        (Some("monitoring.coreos.com/v1"), Some("ServiceMonitor")) => faults_of::<ServiceMonitor>(object),
        kind => vec![format!("a kind that is not expected: {kind:?}")],
    }
}

fn faults_of<T: DeserializeOwned + Serialize>(object: &Value) -> Vec<String> {
    match serde_json::from_value::<T>(object.clone()) {
        Ok(typed) => {
            let mut found = Vec::new();
            lost(object, &serde_json::to_value(typed).unwrap(), "", &mut found);
            found
        }
        Err(error) => vec![error.to_string()],
    }
}

/// The typed form leaves out what it does not know.
fn lost(given: &Value, typed: &Value, path: &str, found: &mut Vec<String>) {
    match (given, typed) {
        (Value::Object(given), Value::Object(typed)) => {
            for (key, value) in given {
                let path = format!("{path}.{key}");
                match typed.get(key) {
                    Some(typed) => lost(value, typed, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(typed)) if given.len() == typed.len() => {
            for (i, (given, typed)) in given.iter().zip(typed).enumerate() {
                lost(given, typed, &format!("{path}[{i}]"), found);
            }
        }
        (given, typed) if given == typed => {}
        _ => found.push(path.to_owned()),
    }
}

fn assert_known(objects: &Objects, what: &str) {
    assert!(!objects.is_empty());
    for ((kind, name), object) in objects {
        assert_eq!(faults(object), [""; 0], "{what}: {kind} {name}");
    }
}

#[test]
fn every_manifest_is_what_the_api_knows() {
    for folder in [WITHOUT_KUBE_PROXY, WITH_KUBE_PROXY, UNINSTALL] {
        assert_known(&kustomize(folder), folder);
    }
    assert_known(
        &with_components(WITHOUT_KUBE_PROXY, &["xdp", "service-monitor", "flow-store"]),
        "components",
    );
    let server = format!("apiServer={NOWHERE}");
    let all = [
        "image.pullSecrets[0].name=mine",
        "extraArgs={--external-mode=dsr}",
        "flowStore.enabled=true",
        "flowStore.hostPath=/srv/netpol",
        "cni.extraArgs={--cni-fail-open}",
        "resources.limits.memory=1Gi",
        "serviceMonitor.enabled=true",
        "serviceMonitor.labels.release=prometheus",
    ];
    for values in [&[][..], &all, &["cni.enabled=false"]] {
        let values = [&[server.as_str()], values].concat();
        assert_known(&chart(&values), &format!("{values:?}"));
    }
}

#[test]
fn a_field_that_the_api_does_not_know_is_found() {
    let mut objects = kustomize(WITH_KUBE_PROXY);
    let daemon_set = objects.get_mut(&("DaemonSet".to_owned(), "netpol-agent".to_owned())).unwrap();
    let pod = &mut daemon_set["spec"]["template"]["spec"];
    pod["containers"][0]["securityContext"]["readonlyRootFilesystem"] = json!(true);
    let found = faults(daemon_set);
    assert_eq!(found, [".spec.template.spec.containers[0].securityContext.readonlyRootFilesystem"]);
    daemon_set["spec"]["template"]["spec"]["hostNetwork"] = json!("yes");
    assert!(faults(daemon_set)[0].contains("invalid type"), "{:?}", faults(daemon_set));
}

#[test]
fn values_that_the_chart_does_not_have_are_refused() {
    let server = "apiServer=https://10.0.0.1:6443";
    for (values, said) in [
        (&[][..], "apiServer: where is the API server?"),
        (&["apiServer=10.0.0.1"], "/apiServer"),
        (&[server, "services=maybe"], "/services"),
        (&[server, "service=off"], "'service'"),
        (&[server, "cni.enable=false"], "'enable'"),
        (&[server, "flowStore.hostPath=flows"], "/flowStore/hostPath"),
    ] {
        let error = chart_text(values).expect_err("values are wrong");
        assert!(error.contains(said), "{values:?}: {error}");
    }
}
