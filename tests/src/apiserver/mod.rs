//! An API server in memory: lists in pages, watches with bookmarks, streamed lists, patches, TLS, tokens, and everything that
//! can go wrong with one, at the turn of a switch. It stands for kube-apiserver in tests, which takes an etcd and a cluster
//! around it; `kubectl` can talk to it.

mod faults;
mod list;
mod patch;
mod query;
mod resource;
mod rights;
mod route;
mod status;
mod store;
mod tls;
mod watch;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, anyhow};
use netpol_agent::{ctl::api::WatchView, model::ObjectRef};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Handle, sync::watch as channel, task::JoinHandle};

pub use faults::Faults;
pub use resource::{RESOURCES, Resource};
pub use rights::Rights;
pub use status::Status;

use list::Rest;
use store::Store;
use tls::{Identity, TlsListener};

/// A server. Clones are the same one.
#[derive(Clone)]
pub struct ApiServer(Arc<Inner>);

struct Inner {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    pages: Mutex<(u64, BTreeMap<String, Rest>)>,
    changed: channel::Sender<u64>,
    /// Goes up when all watches are to be cut.
    connections: channel::Sender<u64>,
    identity: Identity,
}

/// A socket on which a server answers, as long as this is not dropped.
#[derive(Debug)]
pub struct Answering(JoinHandle<()>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ApiServer {
    /// A server without objects, that nobody can reach yet.
    ///
    /// # Errors
    /// If there is no randomness for its keys.
    pub fn new() -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            store: Mutex::default(),
            faults: Mutex::default(),
            pages: Mutex::default(),
            changed: channel::Sender::new(0),
            connections: channel::Sender::new(0),
            identity: Identity::new(&["127.0.0.1", "localhost"])?,
        })))
    }

    /// Answers on a listening socket, over TLS.
    ///
    /// # Errors
    /// If the socket is none that tokio can use.
    pub fn answer(&self, socket: std::net::TcpListener, runtime: &Handle) -> Result<Answering> {
        socket.set_nonblocking(true)?;
        let _inside = runtime.enter();
        let listener =
            TlsListener { tcp: TcpListener::from_std(socket)?, acceptor: self.0.identity.acceptor.clone() };
        let router = self.router();
        Ok(Answering(runtime.spawn(async move {
            if let Err(e) = axum::serve(listener, router).await {
                tracing::error!("the API server: {e}");
            }
        })))
    }

    /// A kubeconfig for a client that finds the server at `url`, trusts the file `authority` and sends what is in the file
    /// `token`.
    #[must_use]
    pub fn kubeconfig(url: &str, authority: &Path, token: &Path) -> String {
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": authority}}],
            "users": [{"name": "test", "user": {"tokenFile": token}}]});
        config.to_string()
    }

    /// What clients have to trust, as PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.0.identity.authority
    }

    /// Creates or replaces an object.
    ///
    /// # Errors
    /// If its kind is none of the server's, or it has no name.
    pub fn put(&self, object: Value) -> Result<()> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let resource = Resource::of_kind(kind).with_context(|| format!("the server has no kind {kind:?}"))?;
        self.write(|store| store.put(resource, object)).map(drop).map_err(|status| anyhow!(status.message))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete(&self, object: &ObjectRef) -> Result<()> {
        let resource = Resource::of_kind(&object.kind).with_context(|| object.to_string())?;
        let key = (object.namespace.clone(), object.name.clone());
        self.write(|store| store.delete(resource, &key)).map(drop).map_err(|status| anyhow!(status.message))
    }

    /// All objects of a kind, by namespace and name; none of a kind that the server does not have.
    #[must_use]
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let resource = Resource::of_kind(kind);
        let all = resource.map(|resource| self.store().list(resource, None)).unwrap_or_default();
        all.iter().map(|object| Value::clone(object)).collect()
    }

    /// Whether watches have come as far as the last change of each kind.
    #[must_use]
    pub fn reached(&self, watches: &[WatchView]) -> bool {
        let store = self.store();
        RESOURCES.iter().filter(|resource| resource.is_watched()).all(|resource| {
            let watch = watches.iter().find(|watch| watch.kind == resource.kind);
            watch.is_some_and(|w| {
                w.phase == "absent"
                    || w.version.parse::<u64>().is_ok_and(|version| version >= store.last(resource))
            })
        })
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut lock(&self.0.faults));
    }

    /// Cuts all watches.
    pub fn cut(&self) {
        self.0.connections.send_modify(|generation| *generation += 1);
    }

    /// Forgets the changes so far: whoever was away has to list again.
    pub fn compact(&self) {
        self.store().compact();
        self.pages().1.clear();
    }

    fn write<T>(&self, change: impl FnOnce(&mut Store) -> Result<T, Status>) -> Result<T, Status> {
        let (result, version) = {
            let mut store = self.store();
            (change(&mut store), store.version())
        };
        self.0.changed.send_replace(version);
        result
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.0.store)
    }

    fn pages(&self) -> MutexGuard<'_, (u64, BTreeMap<String, Rest>)> {
        lock(&self.0.pages)
    }

    fn faults(&self) -> Faults {
        lock(&self.0.faults).clone()
    }

    fn changed(&self) -> channel::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn connections(&self) -> channel::Receiver<u64> {
        self.0.connections.subscribe()
    }
}
