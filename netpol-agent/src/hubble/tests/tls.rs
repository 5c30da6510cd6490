use std::{path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use super::{Fixture, client::Client, serve, write};
use crate::hubble::{
    HubbleError, HubbleOptions, Listeners, TlsFiles,
    messages::{ChangeNotification, Empty, ServerStatusResponse},
};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, as PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

const NAME: &str = "node-1.default.hubble-grpc.cilium.io";

fn files(folder: &Path, server: &Authority, clients: &Authority) -> TlsFiles {
    let (certificate, key) = server.sign(NAME);
    TlsFiles {
        certificate: write(folder, "tls.crt", &certificate),
        key: write(folder, "tls.key", &key),
        client_ca: Some(write(folder, "ca.crt", &clients.pem())),
    }
}

/// A client that trusts one authority, and shows the certificate of another.
async fn client(port: u16, trusted: &Authority, own: Option<&Authority>) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own.map(|own| own.sign("relay")) {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let connect = move || {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            connector.connect(ServerName::try_from(NAME).unwrap(), stream).await
        }
    };
    Client::over(connect).await.map_err(|error| format!("{error:?}"))
}

async fn is_answered(client: Result<Client, String>) -> bool {
    let Ok(mut client) = client else { return false };
    client.ask::<_, ServerStatusResponse>("/observer.Observer/ServerStatus", Empty {}).await.is_ok()
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_right_authority_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (server, clients) = (Authority::new(), Authority::new());
    let served = serve(&Fixture::new(), Some(files(folder.path(), &server, &clients)));
    assert!(is_answered(client(served.port, &server, Some(&clients)).await).await);
    assert!(!is_answered(client(served.port, &server, Some(&server)).await).await);
    assert!(!is_answered(client(served.port, &server, None).await).await);
    // Whoever could not shake hands holds up nobody; nor does one who says nothing.
    let silent = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
    assert!(is_answered(client(served.port, &server, Some(&clients)).await).await);
    drop(silent);
    let mut unix = Client::unix(served.socket.clone()).await;
    let mut peers = unix.stream::<_, ChangeNotification>("/peer.Peer/Notify", Empty {}).await.unwrap();
    let peer = peers.message().await.unwrap().unwrap();
    assert_eq!(peer.tls.unwrap().server_name, NAME);
}

#[tokio::test]
async fn certificates_that_are_replaced_are_used_and_bad_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let served = serve(&Fixture::new(), Some(files(folder.path(), &old, &old)));
    assert!(is_answered(client(served.port, &old, Some(&old)).await).await);
    write(folder.path(), "tls.crt", "nothing");
    assert!(is_answered(client(served.port, &old, Some(&old)).await).await);
    files(folder.path(), &new, &new);
    assert!(is_answered(client(served.port, &new, Some(&new)).await).await);
    assert!(!is_answered(client(served.port, &old, Some(&old)).await).await);
}

#[test]
fn certificates_of_no_use_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Authority::new(), Authority::new());
    let files = files(folder.path(), &one, &other);
    let refused = |files: &TlsFiles| {
        let listen = Some("127.0.0.1:0".parse().unwrap());
        let options = HubbleOptions { socket: None, listen, tls: Some(files.clone()) };
        match Listeners::bind(&options) {
            Err(HubbleError::Tls(error)) => error.to_string(),
            other => panic!("{:?}", other.map(|listeners| listeners.port())),
        }
    };
    write(folder.path(), "tls.key", &other.sign(NAME).1);
    assert!(refused(&files).contains("tls.key"), "{}", refused(&files));
    write(folder.path(), "ca.crt", "");
    assert!(refused(&files).contains("ca.crt"), "{}", refused(&files));
    std::fs::remove_file(folder.path().join("tls.crt")).unwrap();
    assert!(!refused(&files).is_empty());
}
