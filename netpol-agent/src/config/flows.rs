//! Who is told of flows.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::hubble::{HubbleOptions, TlsFiles};

/// Arguments of `run` about flow records.
#[derive(Clone, PartialEq, Eq, Args, Debug, Default)]
pub struct FlowArgs {
    /// Serve Hubble's API on a Unix socket, for the owner only: hubble observe --server unix://PATH. By default nowhere
    #[arg(long, value_name = "PATH")]
    pub hubble_socket: Option<PathBuf>,
    /// Serve Hubble's API here, for Relay: 0.0.0.0:4244. The same port on all nodes. By default nowhere
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub hubble_listen: Option<SocketAddr>,
    /// Certificate for --hubble-listen, as PEM, followed by those it is signed with. Read again when it is replaced
    #[arg(long, value_name = "FILE", requires_all = ["hubble_listen", "hubble_tls_key"])]
    pub hubble_tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "hubble_tls_cert")]
    pub hubble_tls_key: Option<PathBuf>,
    /// Take only clients at --hubble-listen whose certificate is signed by one of these
    #[arg(long, value_name = "FILE", requires = "hubble_tls_cert")]
    pub hubble_client_ca: Option<PathBuf>,
}

impl FlowArgs {
    /// Where Hubble's API is served.
    #[must_use]
    pub fn hubble(&self) -> HubbleOptions {
        let pair = self.hubble_tls_cert.clone().zip(self.hubble_tls_key.clone());
        HubbleOptions {
            socket: self.hubble_socket.clone(),
            listen: self.hubble_listen,
            tls: pair.map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_ca: self.hubble_client_ca.clone(),
            }),
        }
    }
}
