//! A page for a browser: who talks to whom, what was dropped and by which policy. It is read only: nothing can be changed
//! through it. `docs/ui.md` lists what is answered where.

mod answer;
mod assets;
#[cfg(test)]
mod browser;
mod flows;
mod graph;
mod guard;
mod query;
mod rule_lines;
mod serve;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, middleware, routing::get};
use tokio::sync::Semaphore;

pub use serve::serve;

use crate::ctl::State;

/// Where the page is unless told otherwise.
pub const DEFAULT_BIND: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9472);

/// What the handlers share.
struct Desk<S> {
    state: Arc<S>,
    /// An explanation reads every object of the cluster, so there is one at a time.
    explaining: Arc<Semaphore>,
}

impl<S> Clone for Desk<S> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), explaining: self.explaining.clone() }
    }
}

/// Everything that is answered.
fn router<S: State>(state: Arc<S>) -> Router {
    let desk = Desk { state, explaining: Arc::new(Semaphore::new(1)) };
    Router::new()
        .route("/api/flows", get(flows::recent::<S>))
        .route("/api/flows/follow", get(flows::follow::<S>))
        .route("/api/graph", get(graph::graph::<S>))
        .route("/api/names", get(answer::names::<S>))
        .route("/api/policy", get(answer::policy::<S>))
        .route("/api/explain", get(answer::explain::<S>))
        .fallback(assets::asset)
        .with_state(desk)
        .layer(middleware::from_fn(guard::guard))
}
