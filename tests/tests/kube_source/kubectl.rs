//! The test server is one that `kubectl` can talk to.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use netpol_tests::apiserver::ApiServer;

use crate::client::Served;

const MANIFEST: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{ports: [{port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, clusterIP: 10.96.0.7, ports: [{port: 80}, {port: 81, name: other}]}
";

struct Kubectl {
    config: PathBuf,
}

impl Kubectl {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.config).args(arguments);
        // Its cache of what servers have would outlive this one.
        command.arg("--cache-dir").arg(self.config.with_extension("cache"));
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}: {out}{err}");
        out.into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_gets_watches_and_deletes() {
    let served = Served::new();
    let mut source = served.follow().await;
    source.until_synced().await;
    let folder = served.folder.path();
    let config = folder.join("kubeconfig");
    fs::write(&config, ApiServer::kubeconfig(&served.url, &folder.join("ca.crt"), &folder.join("token")))
        .unwrap();
    let kubectl = Kubectl { config };

    let apply = ["apply", "--validate=false", "-f", "-"];
    let said = kubectl.run(&apply, MANIFEST);
    assert_eq!(said, "networkpolicy.networking.k8s.io/web created\nservice/web created\n");
    source.until_has("NetworkPolicy shop/web").await;
    let mut watch = kubectl
        .command(&["get", "netpol", "-n", "shop", "-w", "-o", "name"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut names = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert_eq!(names.next().unwrap().unwrap(), "networkpolicy.networking.k8s.io/web");
    let said = kubectl.run(&apply, &MANIFEST.replace("port: 81", "port: 82"));
    assert_eq!(said, "networkpolicy.networking.k8s.io/web unchanged\nservice/web configured\n");
    let ports = kubectl.run(&["get", "svc", "web", "-n", "shop", "-o", "jsonpath={.spec.ports[*].port}"], "");
    assert_eq!(ports, "80 82");
    kubectl.run(
        &["apply", "--validate=false", "--server-side", "-f", "-"],
        &MANIFEST.replace("name: web, namespace", "name: more, namespace"),
    );
    assert_eq!(names.next().unwrap().unwrap(), "networkpolicy.networking.k8s.io/more");
    watch.kill().unwrap();
    watch.wait().unwrap();
    kubectl.run(&["delete", "--wait=false", "netpol,svc", "-n", "shop", "web"], "");
    source.until("gone", |source| !source.objects.iter().any(|object| object.ends_with("/web"))).await;
    assert_eq!(source.objects.len(), 2);
}
