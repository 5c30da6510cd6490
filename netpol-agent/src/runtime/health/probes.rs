use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener as Bound},
    time::Duration,
};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::answer;
use crate::runtime::status::Shared;

/// Whoever asks has so much time for its question and our answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions at a time; others wait.
const AT_A_TIME: usize = 64;
/// No connection can be taken at the moment: as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until the future is dropped; a connection is one question.
pub(super) async fn answer_all<A>(listener: TcpListener, answer: A)
where
    A: Fn(&Request<Incoming>) -> Response<String> + Clone + Send + 'static,
{
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= AT_A_TIME {
            clients.join_next().await;
        }
        while clients.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.spawn(client(stream, answer.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "a health check that was not taken");
                sleep(PAUSE).await;
            }
        }
    }
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

/// `/healthz` and `/livez` on `--healthz-bind`.
pub(in crate::runtime) struct Probes(Option<Bound>);

impl Probes {
    /// Takes the address, if one is given.
    pub(in crate::runtime) fn bind(address: Option<SocketAddr>) -> io::Result<Self> {
        let bound = address.map(Bound::bind).transpose()?;
        bound.iter().try_for_each(|bound| bound.set_nonblocking(true))?;
        Ok(Self(bound))
    }

    /// Answers until the future is dropped.
    ///
    /// # Errors
    /// If the listener cannot be waited for.
    pub(in crate::runtime) async fn run(self, shared: Shared) -> io::Result<()> {
        let Some(bound) = self.0 else { return std::future::pending().await };
        let listener = TcpListener::from_std(bound)?;
        let answer = move |request: &Request<Incoming>| {
            let eligible = !shared.engine().node_is_leaving();
            answer::of_node(request.uri().path(), eligible, answer::is_healthy(&shared))
        };
        answer_all(listener, answer).await;
        Ok(())
    }
}
