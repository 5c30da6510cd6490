//! The objects of an API server, followed by watches.

mod backoff;
mod collection;
mod connect;
mod follow;
mod keep;
mod lists;
mod state;
mod wanted;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use kube::Client;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};

pub use collection::ORIGIN as KUBERNETES;
pub use connect::KubeOptions;
pub use state::{Phase, Restart, Watch, Watches};
pub use wanted::{Place, place_of};

use super::SourceEvent;
use crate::model::Problem;
use follow::Follower;
use wanted::{EndpointSlices, Namespaces, NetworkPolicies, Nodes, Pods, ServiceCidrs, Services, Wanted};

/// Messages of all watches that may wait. Each can hold a page of objects.
const WAITING: usize = 2;

/// An API server cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither flag is given.
    #[error(
        "--source kube: where is the API server? Give --api-server or --kubeconfig; the address in the pod's environment is that of a Service, which only netpol makes work"
    )]
    NoServer,
    /// No URL.
    #[error("--api-server {url}: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The kubeconfig cannot be read, or says nothing that helps.
    #[error("--kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A file of the service account cannot be read.
    #[error("--service-account: {}", path.display())]
    ServiceAccount {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Certificates or keys are no good.
    #[error("--source kube: the client cannot be set up")]
    Client(#[source] Box<kube::Error>),
    /// A watch has panicked.
    #[error("following the API server")]
    Panicked(#[from] JoinError),
}

/// An API server.
pub struct KubeSource {
    client: Client,
    watches: Watches,
}

impl std::fmt::Debug for KubeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeSource").field("watches", &self.watches).finish_non_exhaustive()
    }
}

/// What a watch has to tell.
#[derive(Debug)]
struct Told {
    kind: &'static str,
    events: Vec<SourceEvent>,
    /// Everything that is wrong with the kind now.
    problems: Vec<Problem>,
    /// Everything that there is of the kind has been told.
    complete: bool,
    /// What is told is all there is up to this version.
    version: Option<String>,
}

impl KubeSource {
    /// Reads what it takes to talk to the server. Whether it answers is not asked.
    ///
    /// # Errors
    /// If a file cannot be read, or no server is named.
    pub async fn open(options: &KubeOptions) -> Result<Self, Error> {
        Ok(Self { client: connect::connect(options).await?, watches: Watches::default() })
    }

    /// Who talks to the server.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// How far the watches have come.
    #[must_use]
    pub fn watches(&self) -> Watches {
        self.watches.clone()
    }

    /// Sends everything that there is, then [`SourceEvent::Synced`], then every change, until the receiver is gone.
    ///
    /// # Errors
    /// If a watch panics. A server that does not answer is reported as a problem instead, and what it said stays in force.
    pub async fn run(self, events: mpsc::Sender<Vec<SourceEvent>>) -> Result<(), Error> {
        let (out, mut told) = mpsc::channel(WAITING);
        let mut merge = Merge::default();
        let mut tasks = JoinSet::new();
        macro_rules! follow {
            ($($kind:ty),*) => {$(
                merge.incomplete.insert(<$kind>::KIND);
                tasks.spawn(Follower::<$kind>::new(self.client.clone(), out.clone(), self.watches.clone()).run());
            )*};
        }
        follow!(Namespaces, Nodes, Pods, Services, NetworkPolicies, EndpointSlices, ServiceCidrs);
        drop(out);
        loop {
            tokio::select! {
                told = told.recv() => {
                    let Some(told) = told else { return Ok(()) };
                    let (kind, version) = (told.kind, told.version.clone());
                    let batch = merge.take(told);
                    if !batch.is_empty() && events.send(batch).await.is_err() {
                        return Ok(());
                    }
                    if let Some(version) = version {
                        self.watches.handed_on(kind, version);
                    }
                }
                Some(ended) = tasks.join_next() => ended?,
                () = events.closed() => return Ok(()),
            }
        }
    }
}

/// From what the watches tell to one stream of events.
#[derive(Debug, Default)]
struct Merge {
    incomplete: BTreeSet<&'static str>,
    synced: bool,
    problems: BTreeMap<&'static str, Vec<Problem>>,
}

impl Merge {
    fn take(&mut self, told: Told) -> Vec<SourceEvent> {
        let Told { kind, events: mut batch, problems, complete, version: _ } = told;
        let before = self.problems.entry(kind).or_default();
        if *before != problems {
            *before = problems;
            batch.push(SourceEvent::Problems(self.problems.values().flatten().cloned().collect()));
        }
        if complete {
            self.incomplete.remove(kind);
        }
        if self.incomplete.is_empty() && !self.synced {
            self.synced = true;
            batch.push(SourceEvent::Synced);
        }
        batch
    }
}
