//! The source that the command line names.

use kube::Client;
use tokio::sync::mpsc;

use super::{DirError, DirSource, KubeError, KubeSource, Rescan, SourceEvent, Watches};

/// One of the sources.
#[derive(Debug)]
pub enum Feed {
    /// A folder of manifests.
    Dir(DirSource),
    /// An API server.
    Kube(KubeSource),
}

/// A source cannot be opened, or has failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// An API server.
    #[error(transparent)]
    Kube(#[from] KubeError),
}

impl Feed {
    /// See [`DirSource::rescan`]. An API server tells of changes by itself.
    #[must_use]
    pub fn rescan(&self) -> Rescan {
        match self {
            Self::Dir(source) => source.rescan(),
            Self::Kube(_) => Rescan::needless(),
        }
    }

    /// Who talks to an API server; nobody for a folder.
    #[must_use]
    pub fn client(&self) -> Option<Client> {
        match self {
            Self::Dir(_) => None,
            Self::Kube(source) => Some(source.client()),
        }
    }

    /// How far the watches of an API server have come; none for a folder.
    #[must_use]
    pub fn watches(&self) -> Watches {
        match self {
            Self::Dir(_) => Watches::default(),
            Self::Kube(source) => source.watches(),
        }
    }

    /// Sends everything that there is, then [`SourceEvent::Synced`], then every change, until the receiver is gone.
    ///
    /// # Errors
    /// If a task of the source panics.
    pub async fn run(self, events: mpsc::Sender<Vec<SourceEvent>>) -> Result<(), Error> {
        match self {
            Self::Dir(source) => Ok(source.run(events).await?),
            Self::Kube(source) => Ok(source.run(events).await?),
        }
    }
}
