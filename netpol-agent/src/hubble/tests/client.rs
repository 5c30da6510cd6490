use std::path::PathBuf;

use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;

/// Calls by path, as the `hubble` command does.
pub(super) struct Client(Grpc<Channel>);

impl Client {
    pub(super) async fn unix(path: PathBuf) -> Self {
        Self::over(move || UnixStream::connect(path.clone())).await.unwrap()
    }

    pub(super) async fn tcp(port: u16) -> Self {
        Self::over(move || TcpStream::connect(("127.0.0.1", port))).await.unwrap()
    }

    pub(super) async fn over<T, F>(
        connect: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<Self, tonic::transport::Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = std::io::Result<T>> + Send + 'static,
    {
        let connector = tower::service_fn(move |_: Uri| {
            let stream = connect();
            async move { stream.await.map(hyper_util::rt::TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://hubble").connect_with_connector(connector).await?;
        Ok(Self(Grpc::new(channel)))
    }

    pub(super) async fn ask<Q, A>(&mut self, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.0.unary(Request::new(question), path.parse().unwrap(), codec).await?;
        assert!(answer.metadata().contains_key("hubble-server-version"));
        Ok(answer.into_inner())
    }

    pub(super) async fn stream<Q, A>(
        &mut self,
        path: &'static str,
        question: Q,
    ) -> Result<Streaming<A>, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Q, A>::default();
        let answers = self.0.server_streaming(Request::new(question), path.parse().unwrap(), codec).await?;
        Ok(answers.into_inner())
    }

    pub(super) async fn healthy(&mut self, service: &str) -> Result<i32, Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<tonic_health::pb::HealthCheckRequest, tonic_health::pb::HealthCheckResponse>::default();
        let question = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let path = "/grpc.health.v1.Health/Check".parse().unwrap();
        Ok(self.0.unary(Request::new(question), path, codec).await?.into_inner().status)
    }
}
