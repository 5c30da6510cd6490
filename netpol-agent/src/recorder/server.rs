//! Talks to the API server.

use std::time::Duration;

use k8s_openapi::{api::events::v1::Event, jiff::Timestamp};
use kube::{
    Client,
    api::{Api, GetParams, PartialObjectMeta, PostParams},
    core::Request,
};
use tokio::time::timeout;

use super::{
    agenda::Said,
    event::{Regarding, event},
    report::Report,
};
use crate::source::{Place, place_of};

/// For a question and its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Nothing is left to do.
    Done(Said),
    /// It has to be tried again: why.
    Later(String),
}

pub(super) struct Server {
    client: Client,
    node: String,
}

impl Server {
    pub(super) fn new(client: Client, node: String) -> Self {
        Self { client, node }
    }

    pub(super) async fn say(&self, report: &Report) -> Outcome {
        match timeout(PATIENCE, self.try_say(report)).await {
            Ok(Ok(said)) => Outcome::Done(said),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Outcome::Done(Said::Needless),
            // The object, or its namespace, went away meanwhile.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Outcome::Done(Said::Needless),
            Ok(Err(kube::Error::Api(status)))
                if status.code == 403 && status.message.contains("being terminated") =>
            {
                Outcome::Done(Said::Needless)
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 422) => {
                tracing::error!(object = %report.object, reason = status.message, "an event is not taken");
                Outcome::Done(Said::Failed)
            }
            Ok(Err(kube::Error::Api(status))) => {
                Outcome::Later(format!("{} ({})", status.message, status.code))
            }
            Ok(Err(error)) => Outcome::Later(error.to_string()),
            Err(_) => Outcome::Later(format!("no answer within {PATIENCE:?}")),
        }
    }

    async fn try_say(&self, report: &Report) -> kube::Result<Said> {
        let object = &report.object;
        let Some(Place { api_version, path }) = place_of(object) else { return Ok(Said::Needless) };
        let request = Request::new(path)
            .get_metadata(&object.name, &GetParams::default())
            .map_err(kube::Error::BuildRequest)?;
        let found: PartialObjectMeta = self.client.request(request).await?;
        let generation = found.metadata.generation.unwrap_or(0);
        // Of a revision that has been replaced nobody wants to hear; of the new one the next list will say.
        if report.generation != 0 && generation != report.generation {
            return Ok(Said::Needless);
        }
        let regarding = Regarding { api_version, uid: found.metadata.uid.unwrap_or_default() };
        let event = event(report, &regarding, &self.node, Timestamp::now());
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        events.create(&PostParams::default(), &event).await?;
        Ok(Said::Created)
    }
}
