//! The sockets, and who serves them.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::transport::{Server, server::Router};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{
    Cluster, Hubble, Reach,
    observer::Observer,
    peers::Peers,
    rpc::Served,
    tls::{Acceptor, TlsError, TlsFiles},
    watch,
};
use crate::ctl::{Audience, Socket, SocketError};

/// The service that `hubble status` asks the health of.
const HEALTH_OF: &str = "hubble.server.Observer";
/// How long a client may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time.
const HANDSHAKES: usize = 64;
/// A client that says nothing is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Calls at a time over one connection.
const CALLS: u32 = 128;

/// Where the API is to be served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HubbleOptions {
    /// A Unix socket, for the owner only.
    pub socket: Option<PathBuf>,
    /// An address and port.
    pub listen: Option<SocketAddr>,
    /// TLS for that address.
    pub tls: Option<TlsFiles>,
}

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HubbleError {
    /// The Unix socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The address cannot be taken.
    #[error("cannot listen on {address} (--hubble-listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificates are of no use.
    #[error("--hubble-tls-cert, --hubble-tls-key, --hubble-client-ca")]
    Tls(#[from] TlsError),
    /// A socket takes no connections any more.
    #[error("serving Hubble's API")]
    Serve(#[source] tonic::transport::Error),
    /// A socket cannot be handed to the runtime.
    #[error("serving Hubble's API")]
    Io(#[from] io::Error),
}

/// Sockets that are bound, and not served yet.
pub struct Listeners {
    socket: Option<Socket>,
    tcp: Option<(std::net::TcpListener, Option<Acceptor>)>,
    reach: Reach,
}

impl Listeners {
    /// Binds what is asked for; that may be nothing.
    ///
    /// # Errors
    /// If a socket or certificate cannot be had.
    pub fn bind(options: &HubbleOptions) -> Result<Self, HubbleError> {
        let tls = options.tls.clone().map(Acceptor::new).transpose()?;
        let mut reach = Reach { socket: options.socket.clone(), port: None, tls: options.tls.is_some() };
        let socket = options.socket.as_deref().map(|path| Socket::bind(path, Audience::Owner)).transpose()?;
        let tcp = match options.listen {
            None => None,
            Some(address) => {
                let bound = std::net::TcpListener::bind(address).and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    Ok((listener.local_addr()?.port(), listener))
                });
                let (port, listener) = bound.map_err(|source| HubbleError::Listen { address, source })?;
                reach.port = Some(port);
                if tls.is_none() && !address.ip().is_loopback() {
                    tracing::warn!(%address, "hubble: everybody who reaches this address can read flows: there is no TLS");
                }
                Some((listener, tls))
            }
        };
        Ok(Self { socket, tcp, reach })
    }

    /// The port that is listened on, if one is.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.reach.port
    }

    /// Serves until the future is dropped. Without sockets it waits for ever.
    ///
    /// # Errors
    /// If a socket takes no connections any more.
    pub async fn serve<C: Cluster>(self, cluster: C) -> Result<(), HubbleError> {
        let Self { socket, tcp, reach } = self;
        if socket.is_none() && tcp.is_none() {
            return std::future::pending().await;
        }
        let hubble = Arc::new(Hubble::new(cluster, reach));
        let health = HealthReporter::new();
        health.set_service_status(HEALTH_OF, ServingStatus::Serving).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(never_ends(watch(hubble.clone())));
        if let Some(socket) = socket {
            let (listener, file) = socket.listen()?;
            let router = router(&hubble, &health);
            tasks.spawn(async move {
                let served = router.serve_with_incoming(UnixListenerStream::new(listener)).await;
                drop(file);
                served.map_err(HubbleError::Serve)
            });
        }
        if let Some((listener, tls)) = tcp {
            let listener = TcpListener::from_std(listener)?;
            let router = router(&hubble, &health);
            match tls {
                None => {
                    let incoming = TcpListenerStream::new(listener);
                    tasks.spawn(async move {
                        router.serve_with_incoming(incoming).await.map_err(HubbleError::Serve)
                    });
                }
                Some(acceptor) => {
                    let (sender, incoming) = mpsc::channel(1);
                    tasks.spawn(never_ends(accept(listener, acceptor, sender)));
                    let incoming = ReceiverStream::new(incoming);
                    tasks.spawn(async move {
                        router.serve_with_incoming(incoming).await.map_err(HubbleError::Serve)
                    });
                }
            }
        }
        match tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(HubbleError::Io(io::Error::other(error))),
            None => Ok(()),
        }
    }
}

async fn never_ends(task: impl Future<Output = ()>) -> Result<(), HubbleError> {
    task.await;
    Ok(())
}

fn router<C: Cluster>(hubble: &Arc<Hubble<C>>, health: &HealthReporter) -> Router {
    Server::builder()
        .max_concurrent_streams(CALLS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(Served::new(Observer(hubble.clone())))
        .add_service(Served::new(Peers(hubble.clone())))
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(health.clone()),
        ))
}

type Accepted = io::Result<TlsStream<TcpStream>>;

/// Shakes hands with everybody who comes; one that is slow holds up nobody else.
async fn accept(listener: TcpListener, acceptor: Acceptor, sender: mpsc::Sender<Accepted>) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // As with too many open files: the next one may find room.
                tracing::warn!(%error, "hubble: a connection was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.current(), sender.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    if sender.send(Ok(stream)).await.is_err() {
                        tracing::debug!("hubble: a connection came when the server had ended");
                    }
                }
                Ok(Err(error)) => tracing::warn!(%from, %error, "hubble: no TLS with a client"),
                Err(_) => tracing::warn!(%from, "hubble: a client took too long for its handshake"),
            }
            drop(place);
        });
    }
}
