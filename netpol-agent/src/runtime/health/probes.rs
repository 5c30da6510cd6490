use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener as Bound},
    sync::Arc,
    time::Duration,
};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::answer::{self, Health};
use crate::{
    accept,
    ctl::State as _,
    runtime::{RunError, agent::Agent, status::Shared},
};

/// Whoever asks has so much time for its question and our answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers until the future is dropped; a connection is one question.
pub(super) async fn answer_all<A>(listener: TcpListener, answer: A)
where
    A: Fn(&Request<Incoming>) -> Response<String> + Clone + Send + 'static,
{
    accept::each(listener, "a health check", |stream| client(stream, answer.clone())).await;
}

async fn client<A>(stream: TcpStream, answer: A)
where
    A: Fn(&Request<Incoming>) -> Response<String>,
{
    let service = service_fn(move |request| {
        let response = answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a health check"),
        Err(_) => tracing::debug!("a health check that asked nothing"),
    }
}

/// Who has its answer at one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Answers {
    probes: bool,
    metrics: bool,
}

/// The addresses of `--healthz-bind` and `--metrics-bind`, which may be one.
pub(in crate::runtime) struct Probes(Vec<(Bound, Answers)>);

impl Probes {
    /// Takes the addresses that are given.
    pub(in crate::runtime) fn bind(
        healthz: Option<SocketAddr>,
        metrics: Option<SocketAddr>,
    ) -> Result<Self, RunError> {
        let both = healthz.is_some() && healthz == metrics;
        let wanted = [
            ("--healthz-bind", healthz, Answers { probes: true, metrics: both }),
            ("--metrics-bind", metrics.filter(|_| !both), Answers { probes: false, metrics: true }),
        ];
        let mut bound = Vec::new();
        for (flag, address, answers) in wanted {
            let Some(address) = address else { continue };
            let failed = |source| RunError::Probes { flag, address, source };
            let listener = Bound::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            bound.push((listener, answers));
        }
        Ok(Self(bound))
    }

    /// Answers until the future is dropped.
    ///
    /// # Errors
    /// If a listener cannot be waited for.
    pub(in crate::runtime) async fn run(self, shared: Shared, agent: Arc<Agent>) -> io::Result<()> {
        let mut servers = JoinSet::new();
        for (bound, answers) in self.0 {
            let listener = TcpListener::from_std(bound)?;
            let (shared, agent) = (shared.clone(), agent.clone());
            servers.spawn(answer_all(listener, move |request: &Request<Incoming>| {
                match request.uri().path() {
                    "/metrics" if answers.metrics => answer::of_metrics(agent.metrics()),
                    path if answers.probes => answer::of_node(path, &Health::of(&shared, &agent.watches)),
                    _ => answer::not_found(),
                }
            }));
        }
        while servers.join_next().await.is_some() {}
        std::future::pending().await
    }
}
