//! Kubernetes Events about objects that are not in force as written (`events.k8s.io/v1`): what `kubectl describe` shows beside the
//! object.
//!
//! Whoever knows what is wrong publishes the whole list each time it changes, and waits for nobody; what is to be said follows
//! from the list. So an API server that refuses, or is away, costs nothing but time. How the agents of a cluster share the work is
//! in `docs/adr/0116-kubernetes-events.md`.

mod agenda;
mod event;
mod ranking;
mod report;
mod server;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

pub use agenda::Counts;
use agenda::{Agenda, Next};
pub use event::{CONTROLLER, MAX_NOTE};
pub use report::{Report, Scope};
use server::{Outcome, Server};

/// What is to be said, and by whom.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reports {
    /// One for each thing that is wrong with an object.
    pub reports: BTreeSet<Report>,
    /// The nodes of the cluster.
    pub nodes: Vec<String>,
}

/// How an agent speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecorderOptions {
    /// Its node.
    pub node: String,
    /// How long each of the nodes that may speak of one object waits for the one before it.
    pub turn: Duration,
}

/// Writes events, until nobody publishes any more. `counts` is told of each.
pub async fn run(
    client: Client,
    options: RecorderOptions,
    mut reports: watch::Receiver<Arc<Reports>>,
    counts: Counts,
) {
    let server = Server::new(client, options.node.clone());
    let mut agenda = Agenda::new(options, Instant::now());
    let mut refused = None;
    loop {
        match reports.has_changed() {
            Ok(true) => agenda.update(&reports.borrow_and_update().clone(), Instant::now()),
            Ok(false) => {}
            Err(_) => return,
        }
        let wait = match agenda.next(Instant::now()) {
            Next::Say(report) => {
                match server.say(&report).await {
                    Outcome::Done(done) => {
                        counts.count(done);
                        agenda.said(&report, Instant::now());
                        if refused.take().is_some() {
                            tracing::info!("Kubernetes Events are taken again");
                        }
                    }
                    Outcome::Later(why) => {
                        counts.count(agenda::Said::Failed);
                        agenda.failed(Instant::now());
                        if refused.as_ref() != Some(&why) {
                            tracing::warn!(
                                reason = why,
                                "Kubernetes Events cannot be written; what they would say is in netpolctl status"
                            );
                            refused = Some(why);
                        }
                    }
                }
                continue;
            }
            Next::Wait(until) => until,
        };
        tokio::select! {
            changed = reports.changed() => if changed.is_err() {
                return;
            } else {
                reports.mark_changed();
            },
            () = sleep_until_some(wait) => {}
        }
    }
}

async fn sleep_until_some(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
