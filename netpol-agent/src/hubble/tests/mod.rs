//! A client of our own against the served API, and the bytes it is made of.

mod calls;
mod client;
mod following;
mod tls;
mod wire;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{sync::watch, task::JoinHandle};

use super::{Cluster, HubbleOptions, Listeners, TlsFiles};
use crate::flow::{FlowRecord, FlowStore, Verdict, tests_support::sample};

/// An agent of `node-1` in a cluster of two nodes.
#[derive(Clone)]
struct Fixture {
    name: Arc<str>,
    store: Arc<FlowStore>,
    nodes: Arc<Mutex<BTreeMap<String, IpAddr>>>,
    epoch: Arc<AtomicU32>,
    turns: watch::Sender<u64>,
}

impl Fixture {
    fn new() -> Self {
        let nodes = [("node-1", "192.0.2.1"), ("node-2", "2001:db8::2")];
        let nodes = nodes.map(|(name, address)| (name.to_owned(), address.parse().unwrap()));
        Self {
            name: "node-1".into(),
            store: FlowStore::new(100, |_| {}),
            nodes: Arc::new(Mutex::new(nodes.into())),
            epoch: Arc::default(),
            turns: watch::Sender::new(0),
        }
    }

    /// Something has changed.
    fn turn(&self) {
        self.turns.send_modify(|turns| *turns += 1);
    }

    fn add(&self, change: impl FnOnce(&mut FlowRecord)) {
        let mut record = sample();
        change(&mut record);
        self.store.add(record);
    }

    /// Three drops, of lengths 1 to 3, and a connection of length 4.
    fn with_records(self) -> Self {
        (1..=3).for_each(|n| self.add(|record| record.length = n));
        self.add(|record| {
            (record.length, record.verdict, record.reason) = (4, Verdict::Forwarded, None);
        });
        self
    }
}

impl Cluster for Fixture {
    fn name(&self) -> &Arc<str> {
        &self.name
    }
    fn store(&self) -> &Arc<FlowStore> {
        &self.store
    }
    fn nodes(&self) -> BTreeMap<String, IpAddr> {
        self.nodes.lock().unwrap().clone()
    }
    fn nodes_version(&self) -> u64 {
        *self.turns.borrow()
    }
    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }
    fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }
}

/// A server that ends with the test.
struct Served {
    socket: PathBuf,
    port: u16,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn serve(fixture: &Fixture, tls: Option<TlsFiles>) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hubble.sock");
    let options =
        HubbleOptions { socket: Some(socket.clone()), listen: Some("127.0.0.1:0".parse().unwrap()), tls };
    let listeners = Listeners::bind(&options).unwrap();
    let port = listeners.port().unwrap();
    let fixture = fixture.clone();
    let task = tokio::spawn(async move { listeners.serve(fixture).await.unwrap() });
    Served { socket, port, task, _folder: folder }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
