//! The bed's API server: the objects that lie in the folder, for agents that watch a server instead.
//!
//! Each node finds it under its own loopback, so that no policy and no Service of a scenario is in the way.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context, Result};
use netpol_agent::ctl::api::Status;
use socket2::{Domain, Type};

use super::{Bed, Node, fabric::Fabric, object::Objects};
use crate::apiserver::{Answering, ApiServer};

const PORT: u16 = 6443;

/// Where the agents of a bed have their objects from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Source {
    /// The folder of manifests.
    #[default]
    Folder,
    /// An API server in memory.
    Server,
}

/// The server, as long as the bed stands.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) server: ApiServer,
    _answering: Vec<Answering>,
}

impl Bed {
    /// The API server of the bed, for tests that let it fail; none before the first agent that has its objects from it.
    #[must_use]
    pub fn api_server(&self) -> Option<&ApiServer> {
        self.api.as_ref().map(|api| &api.server)
    }

    /// The API server of the bed, started if need be.
    ///
    /// # Errors
    /// If it cannot listen on a node.
    pub fn start_api_server(&mut self) -> Result<ApiServer> {
        if self.api.is_none() {
            let runtime = self.runtime().clone();
            let server = ApiServer::new()?;
            let answering = start(&server, &self.fabric, &runtime).context("the bed's API server")?;
            write_files(&server, &self.fabric)?;
            self.objects.serve(&server)?;
            self.api = Some(Api { server, _answering: answering });
        }
        self.api_server().cloned().context("the bed has no API server")
    }

    /// A file that tells a node's agent where the server is.
    pub(super) fn kubeconfig(&mut self, node: &str) -> Result<PathBuf> {
        self.start_api_server()?;
        Ok(kubeconfig(self.node(node)?))
    }
}

/// Whether an agent has heard of everything that the server had to say when the agent answered so.
pub(super) fn has_heard(api: Option<&Api>, status: &Status) -> bool {
    match api {
        Some(api) if !status.watches.is_empty() => api.server.reached(&status.watches),
        _ => true,
    }
}

fn start(server: &ApiServer, fabric: &Fabric, runtime: &tokio::runtime::Handle) -> Result<Vec<Answering>> {
    let nodes = fabric.nodes.iter();
    nodes
        .map(|node| {
            let socket = node.netns.socket(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into())?;
            socket.listen(64)?;
            server.answer(socket.into(), runtime)
        })
        .collect()
}

fn write_files(server: &ApiServer, fabric: &Fabric) -> Result<()> {
    for node in &fabric.nodes {
        let (authority, token) = (node.folder.join("ca.crt"), node.folder.join("token"));
        fs::write(&authority, server.authority())?;
        fs::write(&token, "of-the-bed")?;
        let url = format!("https://127.0.0.1:{PORT}");
        fs::write(kubeconfig(node), ApiServer::kubeconfig(&url, &authority, &token))?;
    }
    Ok(())
}

fn kubeconfig(node: &Node) -> PathBuf {
    node.folder.join("kubeconfig")
}

impl Objects {
    /// From now on the objects are a server's too.
    fn serve(&mut self, server: &ApiServer) -> Result<()> {
        self.all().try_for_each(|object| server.put(object.clone()))?;
        self.set_server(server.clone());
        Ok(())
    }
}
