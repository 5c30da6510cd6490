//! Calls without generated code: a service is a match on paths, each arm one of these.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService},
};
use tonic_prost::ProstCodec;

/// The version of Hubble whose API this is, with ours behind it: `hubble` warns if it is newer than its server.
pub(super) const VERSION: &str = concat!("1.19.4+netpol-", env!("CARGO_PKG_VERSION"));

/// The header that tells the version with every answer.
const VERSION_HEADER: &str = "hubble-server-version";

/// Answers of a call, one after the other.
pub(super) type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

/// What a service does for each of its paths.
pub(super) trait Calls: Send + Sync + 'static {
    /// With its package, as it stands in paths.
    const NAME: &'static str;

    fn call(
        self: Arc<Self>,
        request: http::Request<Body>,
    ) -> impl Future<Output = http::Response<Body>> + Send;
}

/// A service as tonic's router takes it.
pub(super) struct Served<T>(Arc<T>);

impl<T> Served<T> {
    pub(super) fn new(calls: T) -> Self {
        Self(Arc::new(calls))
    }
}

impl<T> Clone for Served<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Calls> NamedService for Served<T> {
    const NAME: &'static str = T::NAME;
}

impl<T: Calls> tower::Service<http::Request<Body>> for Served<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let calls = self.0.clone();
        Box::pin(async move { Ok(calls.call(request).await) })
    }
}

/// Carries out a call that has one answer.
pub(super) async fn unary<Q, A, F>(
    request: http::Request<Body>,
    answer: impl FnOnce(Q) -> F + Clone + Send,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>> + Send,
{
    let service = tower::service_fn(move |request: Request<Q>| {
        let answer = answer.clone();
        async move { answer(request.into_inner()).await.map(signed) }
    });
    Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await
}

/// Carries out a call that has many.
pub(super) async fn streaming<Q, A>(
    request: http::Request<Body>,
    answer: impl FnOnce(Q) -> Result<Answers<A>, Status> + Clone + Send,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    let service = tower::service_fn(move |request: Request<Q>| {
        let answer = answer.clone();
        async move { answer(request.into_inner()).map(signed) }
    });
    Grpc::new(ProstCodec::<A, Q>::default()).server_streaming(service, request).await
}

/// There is no such call.
pub(super) fn unknown(path: &str) -> http::Response<Body> {
    Status::unimplemented(format!("{path} is not served")).into_http()
}

fn signed<A>(answer: A) -> Response<A> {
    let mut response = Response::new(answer);
    if let Ok(version) = VERSION.parse() {
        response.metadata_mut().insert(VERSION_HEADER, version);
    }
    response
}
