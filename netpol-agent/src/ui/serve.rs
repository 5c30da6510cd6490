use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::router;
use crate::{accept, ctl::State, model::Problem};

/// A client has so much time for each question.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a request may be long, and what is read ahead of a client: more than any filter needs.
const BUFFER: usize = 64 * 1024;
/// How soon an address is tried again that could not be taken.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves the page at `address` until the future is dropped. The agent is there for the node's pods first: where the address is
/// taken, `tell` is given a problem, the address is tried again until it is free, and `tell` is given `None`.
pub async fn serve<S: State>(address: SocketAddr, state: Arc<S>, tell: impl Fn(Option<Problem>)) {
    let router = router(state);
    let listener = bind(address, tell).await;
    let at = listener.local_addr().unwrap_or(address);
    if !at.ip().is_loopback() {
        tracing::warn!(address = %at, "everybody who reaches the page in the browser can read flows and policies");
    }
    tracing::info!(address = %at, "the page in the browser is served");
    answer_all(listener, router).await;
}

async fn bind(address: SocketAddr, tell: impl Fn(Option<Problem>)) -> TcpListener {
    let mut told = String::new();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if !told.is_empty() {
                    tell(None);
                }
                return listener;
            }
            Err(error) => {
                let message = format!("the page in the browser waits for {address}: {error}");
                if message != told {
                    told.clone_from(&message);
                    tell(Some(Problem { origin: "--ui-bind".to_owned(), message, ..Problem::default() }));
                }
            }
        }
        sleep(PAUSE).await;
    }
}

pub(super) async fn answer_all(listener: TcpListener, router: Router) {
    accept::each(listener, "a browser", |stream| client(stream, router.clone())).await;
}

async fn client(stream: TcpStream, router: Router) {
    let ended: Result<(), hyper::Error> = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a browser");
    }
}
