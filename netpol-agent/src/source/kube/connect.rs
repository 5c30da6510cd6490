//! Where the API server is, and who we are to it.

use std::path::{Path, PathBuf};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::Error;

/// How to reach the API server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KubeOptions {
    /// The server's URL, in place of the one in the kubeconfig.
    pub server: Option<String>,
    /// A kubeconfig; without one the service account is used.
    pub kubeconfig: Option<PathBuf>,
    /// Where the kubelet puts the token and the certificates of the pod's service account.
    pub service_account: PathBuf,
}

/// # Errors
/// If a file cannot be read, or no server is named.
pub(super) async fn connect(options: &KubeOptions) -> Result<Client, Error> {
    let mut config = match &options.kubeconfig {
        Some(path) => of_kubeconfig(path).await?,
        None => of_service_account(options)?,
    };
    if let Some(server) = &options.server {
        config.cluster_url = url(server)?;
    }
    // Each watch waits by itself, and says why.
    config.default_retry = false;
    Client::try_from(config).map_err(|source| Error::Client(Box::new(source)))
}

async fn of_kubeconfig(path: &Path) -> Result<Config, Error> {
    let wrong =
        |source: KubeconfigError| Error::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    let file = Kubeconfig::read_from(path).map_err(wrong)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(wrong)
}

/// As a pod is told, except for the server: the environment names the Service `default/kubernetes`, and it is netpol that
/// makes it work.
fn of_service_account(options: &KubeOptions) -> Result<Config, Error> {
    let server = options.server.as_deref().ok_or(Error::NoServer)?;
    let mut config = Config::new(url(server)?);
    let file = |name: &str| {
        let path = options.service_account.join(name);
        match std::fs::File::open(&path) {
            Ok(_) => Ok(path),
            Err(source) => Err(Error::ServiceAccount { path, source }),
        }
    };
    // Both are read again as they are renewed.
    config.root_cert_file = Some(file("ca.crt")?);
    // No other authority. Left open, the client would first ask for the system's, of which a container has none.
    config.root_cert = Some(Vec::new());
    config.auth_info.token_file = Some(file("token")?.display().to_string());
    Ok(config)
}

fn url(text: &str) -> Result<http::Uri, Error> {
    let wrong = |why: String| Error::Url { url: text.to_owned(), why };
    let uri: http::Uri = text.parse().map_err(|e: http::uri::InvalidUri| wrong(e.to_string()))?;
    match uri.scheme_str() {
        Some("https" | "http") => Ok(uri),
        _ => Err(wrong("https://HOST:PORT is expected".to_owned())),
    }
}
