//! TLS towards Relay: certificates from files, read again when the files are replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

/// Where certificates and key are, as PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The server's certificate, followed by those that it is signed with.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whom clients' certificates must be signed by; without it clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// They do not belong together, or are of no use.
    #[error("certificate {} with key {}: {why}", files.certificate.display(), files.key.display())]
    Unusable {
        /// Which ones.
        files: Box<TlsFiles>,
        /// What is wrong.
        why: String,
    },
}

/// Takes connections with what the files say now.
pub(super) struct Acceptor {
    files: TlsFiles,
    now: Mutex<(Stamp, TlsAcceptor)>,
}

/// When the files were last written, and how long they are.
type Stamp = Vec<Option<(SystemTime, u64)>>;

impl Acceptor {
    pub(super) fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let stamp = files.stamp();
        let acceptor = files.acceptor()?;
        Ok(Self { files, now: Mutex::new((stamp, acceptor)) })
    }

    /// For the next connection. Files that are of no use leave it as it was.
    pub(super) fn current(&self) -> TlsAcceptor {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.files.stamp();
        if stamp != now.0 {
            match self.files.acceptor() {
                Ok(acceptor) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "hubble: certificates have changed");
                    now.1 = acceptor;
                }
                Err(error) => {
                    tracing::error!(%error, "hubble: changed certificates are of no use, the old ones stay");
                }
            }
            now.0 = stamp;
        }
        now.1.clone()
    }
}

impl TlsFiles {
    fn stamp(&self) -> Stamp {
        let paths = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let stamp = |path: &PathBuf| -> io::Result<_> {
            let meta = fs::metadata(path)?;
            Ok((meta.modified()?, meta.len()))
        };
        paths.into_iter().flatten().map(|path| stamp(path).ok()).collect()
    }

    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let unusable = |why: String| TlsError::Unusable { files: Box::new(self.clone()), why };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| file(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|error| file(path, &error))?)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| file(&self.key, &error))?;
        let chain = certificates(&self.certificate)?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| file(path, &error))?;
    if all.is_empty() {
        return Err(TlsError::File { path: path.clone(), why: "there is no certificate in it".to_owned() });
    }
    Ok(all)
}

fn file(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), why: error.to_string() }
}
