//! `kubectl kustomize` and `helm template`, as people call them.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

pub(crate) const WITHOUT_KUBE_PROXY: &str = "overlays/without-kube-proxy";
pub(crate) const WITH_KUBE_PROXY: &str = "overlays/with-kube-proxy";
pub(crate) const UNINSTALL: &str = "uninstall";
/// Where the API server is, in the manifests as they are shipped: nowhere.
pub(crate) const NOWHERE: &str = "https://control-plane.invalid:6443";

/// Objects by kind and name.
pub(crate) type Objects = BTreeMap<(String, String), Value>;

pub(crate) fn deploy(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(below)
}

/// From what `cargo xtask setup` unpacked under `target`, else from `PATH`.
fn program(name: &str) -> Command {
    let here = env::current_exe().unwrap();
    let unpacked = here.ancestors().map(|folder| folder.join("kube").join(name)).find(|file| file.is_file());
    Command::new(unpacked.unwrap_or_else(|| name.into()))
}

/// What a kustomization says, objects as text.
pub(crate) fn kustomize_text(folder: &Path) -> String {
    let output =
        program("kubectl").arg("kustomize").arg(folder).output().expect("kubectl: `cargo xtask setup`");
    said(output).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

pub(crate) fn kustomize(folder: &str) -> Objects {
    objects(&kustomize_text(&deploy("kustomize").join(folder)))
}

/// A kustomization of one's own, as docs/install.md has it, around an overlay.
pub(crate) fn own_kustomization(overlay: &str, further: &str) -> String {
    let folder = tempfile::tempdir_in(deploy("kustomize/overlays")).unwrap();
    let overlay = overlay.rsplit('/').next().unwrap();
    fs::write(folder.path().join("kustomization.yaml"), format!("resources: [../{overlay}]\n{further}"))
        .unwrap();
    kustomize_text(folder.path())
}

/// An overlay with components.
pub(crate) fn with_components(overlay: &str, components: &[&str]) -> Objects {
    let components = components.iter().map(|name| format!("../../components/{name}")).collect::<Vec<_>>();
    objects(&own_kustomization(overlay, &format!("components: [{}]\n", components.join(", "))))
}

/// What the chart says with these values (`--set`), or what is wrong with them.
pub(crate) fn chart_text(values: &[&str]) -> Result<String, String> {
    let mut helm = program("helm");
    helm.args(["template", "netpol", "--namespace=netpol-system"]).arg(deploy("helm/netpol"));
    for value in values {
        helm.args(["--set", value]);
    }
    said(helm.output().expect("helm: `cargo xtask setup`"))
}

pub(crate) fn chart(values: &[&str]) -> Objects {
    objects(&chart_text(values).unwrap())
}

fn said(output: Output) -> Result<String, String> {
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn objects(text: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let count = documents.len();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let objects: Objects = documents
        .into_iter()
        .map(|object| ((text(&object["kind"]), text(&object["metadata"]["name"])), object))
        .collect();
    assert_eq!(objects.len(), count, "an object is there twice");
    objects
}

/// The one object of a kind.
pub(crate) fn only<'a>(objects: &'a Objects, kind: &str) -> &'a Value {
    let found: Vec<&Value> =
        objects.iter().filter(|((k, _), _)| k == kind).map(|(_, object)| object).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

/// Of a DaemonSet: those that run before, and those that run.
pub(crate) fn containers(daemon_set: &Value) -> Vec<&Value> {
    let pod = &daemon_set["spec"]["template"]["spec"];
    ["initContainers", "containers"]
        .iter()
        .flat_map(|list| pod[list].as_array().into_iter().flatten())
        .collect()
}

pub(crate) fn container<'a>(daemon_set: &'a Value, name: &str) -> &'a Value {
    containers(daemon_set).into_iter().find(|container| container["name"] == name).expect(name)
}
