//! A server on loopback, a source that follows it, and what a source has said so far.

use std::{collections::BTreeSet, net::TcpListener, time::Duration};

use netpol_agent::{
    model::reference,
    source::{KubeOptions, KubeSource, SourceEvent, Watches},
};
use netpol_tests::apiserver::{Answering, ApiServer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

/// A token is read again after a minute.
const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const TOKEN: &str = "a-token";

/// A server that can be reached.
pub(crate) struct Served {
    pub(crate) server: ApiServer,
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    _answering: Answering,
}

impl Served {
    pub(crate) fn new() -> Self {
        let server = ApiServer::new().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", socket.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), server.authority()).unwrap();
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        let _answering = server.answer(socket, &Handle::current()).unwrap();
        Self { server, url, folder, _answering }
    }

    pub(crate) async fn source(&self) -> KubeSource {
        let options = KubeOptions {
            server: Some(self.url.clone()),
            kubeconfig: None,
            service_account: self.folder.path().to_owned(),
        };
        KubeSource::open(&options).await.unwrap()
    }

    /// Follows it as a pod with a service account does.
    pub(crate) async fn follow(&self) -> Follows {
        let source = self.source().await;
        let watches = source.watches();
        let (sender, events) = mpsc::channel(64);
        tokio::spawn(source.run(sender));
        Follows { events, watches, objects: BTreeSet::new(), problems: Vec::new(), synced: false }
    }

    pub(crate) fn put(&self, object: Value) {
        self.server.put(object).unwrap();
    }

    pub(crate) fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let object = netpol_agent::model::ObjectRef {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.server.delete(&object).unwrap();
    }
}

/// What a source has said.
pub(crate) struct Follows {
    events: mpsc::Receiver<Vec<SourceEvent>>,
    pub(crate) watches: Watches,
    /// `Kind namespace/name`
    pub(crate) objects: BTreeSet<String>,
    pub(crate) problems: Vec<String>,
    pub(crate) synced: bool,
}

impl Follows {
    /// Waits until what has been said so far is as `wanted`.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            match timeout(PATIENCE, self.events.recv()).await {
                Ok(Some(batch)) => batch.into_iter().for_each(|event| self.hear(event)),
                Ok(None) => panic!("{what}: the source has ended"),
                Err(_) => panic!(
                    "{what}: not within {PATIENCE:?}: {:?}, {:?}, {:?}",
                    self.objects, self.problems, self.watches
                ),
            }
        }
    }

    pub(crate) async fn until_synced(&mut self) {
        self.until("synced", |source| source.synced).await;
    }

    pub(crate) async fn until_has(&mut self, object: &str) {
        self.until(object, |source| source.objects.contains(object)).await;
    }

    fn hear(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Apply { manifest, .. } => {
                let object = reference(&manifest);
                self.objects.insert(format!("{} {}/{}", object.kind, object.namespace, object.name));
            }
            SourceEvent::Delete(object) => {
                self.objects.remove(&format!("{} {}/{}", object.kind, object.namespace, object.name));
            }
            SourceEvent::Problems(problems) => {
                self.problems = problems.iter().map(ToString::to_string).collect();
            }
            SourceEvent::Synced => {
                assert!(!self.synced, "said twice");
                self.synced = true;
            }
        }
    }
}

pub(crate) fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop",
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "registry/c:1"}]}})
}

pub(crate) fn policy(name: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
}
