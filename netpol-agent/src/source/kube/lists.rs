//! Reads the list of a kind: streamed where the server does so, in pages where it does not.

use std::time::Duration;

use futures_util::StreamExt;
use kube::{
    api::{ListParams, VersionMatch, WatchEvent, WatchParams},
    core::{ObjectList, Request},
};
use tokio::time::{Instant, timeout};

use super::{
    collection::Listed,
    follow::{End, Follower, PAGE, watch_params},
    wanted::{Cut, Wanted},
};
use crate::source::SourceEvent;

/// A server that does not stream lists may ignore the wish, and never says that the list is complete.
const LIST_SILENCE: Duration = Duration::from_secs(10);
/// Marks the end of a streamed list (KEP-3157).
const END_OF_LIST: &str = "k8s.io/initial-events-end";
/// How long an empty list must stay empty to be believed.
pub(super) const DOUBT: Duration = Duration::from_secs(30);

impl<W: Wanted> Follower<W> {
    pub(super) async fn streamed_list(&mut self) -> End {
        let params = WatchParams { send_initial_events: true, ..watch_params() };
        let newest = self.newest.clone();
        let mut events = match self.open(&params, &newest).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                return self.reads_pages(&status.message);
            }
            Err(error) => return self.why(error),
        };
        loop {
            let batch = match timeout(LIST_SILENCE, events.next()).await {
                Ok(Some(batch)) => batch,
                Ok(None) => {
                    return End::Failed("the server ended the list before it was complete".to_owned());
                }
                Err(_) => return self.reads_pages("never says that a streamed list is complete"),
            };
            let mut told = Vec::new();
            let mut batch = batch.into_iter();
            while let Some(event) = batch.next() {
                match event {
                    Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                        told.extend(self.collection.item(object));
                    }
                    Ok(WatchEvent::Bookmark(mark)) if mark.metadata.annotations.contains_key(END_OF_LIST) => {
                        let end = self.complete(told, mark.metadata.resource_version).await;
                        if !matches!(end, End::Finished) {
                            return end;
                        }
                        if let Some(end) = self.take(batch.collect()).await {
                            return end;
                        }
                        return self.watch_events(events).await;
                    }
                    // The end is the first mark of a list that is streamed.
                    Ok(WatchEvent::Bookmark(_)) => {
                        return self.reads_pages("does not mark the end of a list");
                    }
                    Ok(WatchEvent::Deleted(_)) => {}
                    Ok(WatchEvent::Error(status)) => return self.why(kube::Error::Api(status)),
                    Err(error) => return self.why(error),
                }
            }
            if self.tell(told, false).await.is_err() {
                return End::Unheard;
            }
        }
    }

    /// Lists are not streamed any more.
    fn reads_pages(&mut self, why: &str) -> End {
        tracing::info!(
            kind = W::KIND,
            answer = why,
            "the server does not stream lists: they are read in pages"
        );
        self.streams_lists = false;
        End::Finished
    }

    pub(super) async fn paged_list(&mut self) -> End {
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        if !self.newest.is_empty() {
            params.resource_version = Some(self.newest.clone());
            params.version_match = Some(VersionMatch::NotOlderThan);
        }
        loop {
            let request = match Request::new(W::PATH).list(&params) {
                Ok(request) => request,
                Err(error) => return End::Failed(error.to_string()),
            };
            let list: ObjectList<Cut<W>> = match self.client.request(request).await {
                Ok(list) => list,
                Err(kube::Error::Api(status)) if status.code == 410 && params.continue_token.is_some() => {
                    // The pages were read too slowly. All at once, then.
                    self.collection.begin();
                    params = ListParams::default();
                    continue;
                }
                Err(error) => return self.why(error),
            };
            let told = list.items.into_iter().filter_map(|object| self.collection.item(object)).collect();
            let version = list.metadata.resource_version.unwrap_or_default();
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                None if version.is_empty() => {
                    return End::Failed("a list without a resourceVersion".to_owned());
                }
                None => return self.complete(told, version).await,
                Some(token) => {
                    // The token stands for the version, and the API does not let both be given.
                    params.resource_version = None;
                    params.version_match = None;
                    params.continue_token = Some(token);
                    if self.tell(told, false).await.is_err() {
                        return End::Unheard;
                    }
                }
            }
        }
    }

    /// The list has been read to its end.
    async fn complete(&mut self, mut told: Vec<SourceEvent>, version: String) -> End {
        let believe = self.empty_since.is_some_and(|since| since.elapsed() >= DOUBT);
        match self.collection.end::<W>(believe) {
            Listed::Doubtful(known) => {
                self.empty_since.get_or_insert_with(Instant::now);
                return End::Doubtful(known);
            }
            Listed::Gone(gone) => told.extend(gone),
        }
        self.empty_since = None;
        if self.seen(told, version, true).await.is_err() || self.mended(false).await.is_err() {
            return End::Unheard;
        }
        End::Finished
    }
}
