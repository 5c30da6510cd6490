//! Follows one kind: a list, then a watch from there on, for as long as the agent runs. The only place that talks to the
//! server.
//!
//! A connection that breaks is taken up where it ended; a list is read again only where the server has forgotten that place.
//! Lists are asked for in a version that is not older than what has been seen, so that a server that lags behind others
//! does not take back what they said (adr/0100).

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::{
    Client,
    api::{WatchEvent, WatchParams},
    core::Request,
};
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep, timeout},
};

use super::{
    Told,
    backoff::Backoff,
    collection::{Collection, ORIGIN},
    lists::DOUBT,
    state::{Phase, Restart, Watches},
    wanted::{Cut, Wanted},
};
use crate::{
    model::{Level, Problem},
    source::SourceEvent,
};

/// Objects of a page, and of events that are handed on together.
pub(super) const PAGE: u32 = 500;
/// How long the server is asked to keep a watch open, in seconds.
const WATCH_S: u32 = 290;
/// A watch that says nothing for so long is dead: the server should have ended it.
const SILENCE: Duration = Duration::from_secs(WATCH_S as u64 + 10);
/// How often a list that is doubted is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is tried whether the server has learnt of an optional kind.
const ABSENT: Duration = Duration::from_secs(60);

/// Follows one kind.
pub(super) struct Follower<W> {
    pub(super) client: Client,
    out: Sender<Told>,
    watches: Watches,
    pub(super) collection: Collection,
    kind: std::marker::PhantomData<fn() -> W>,
    /// The version up to which everything is known; `None`: a list is needed.
    resume: Option<String>,
    /// The newest version that was ever seen; empty in the beginning.
    pub(super) newest: String,
    pub(super) streams_lists: bool,
    trouble: Option<String>,
    pub(super) empty_since: Option<Instant>,
}

/// Why a list or a watch ended.
pub(super) enum End {
    /// Nobody listens any more.
    Unheard,
    /// The server has forgotten the version that was to be taken up.
    Forgotten,
    /// The server does not have the kind.
    Absent,
    /// The list is empty, and so many objects were known.
    Doubtful(usize),
    /// As it should, after its time.
    Finished,
    Failed(String),
}

pub(super) type Events<W> =
    std::pin::Pin<Box<dyn Stream<Item = Vec<kube::Result<WatchEvent<Cut<W>>>>> + Send>>;

impl<W: Wanted> Follower<W> {
    pub(super) fn new(client: Client, out: Sender<Told>, watches: Watches) -> Self {
        Self {
            client,
            out,
            watches,
            collection: Collection::default(),
            kind: std::marker::PhantomData,
            resume: None,
            newest: String::new(),
            streams_lists: true,
            trouble: None,
            empty_since: None,
        }
    }

    /// Until nobody listens any more.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let before = self.newest.clone();
            let end = match self.resume.clone() {
                Some(version) => self.watch(&version).await,
                None => self.list().await,
            };
            if self.newest != before {
                backoff.reset();
            }
            match &end {
                End::Unheard => {}
                End::Finished => self.watches.restarted(W::KIND, Restart::Ended),
                End::Forgotten => self.watches.restarted(W::KIND, Restart::Expired),
                End::Absent | End::Doubtful(_) | End::Failed(_) => {
                    self.watches.restarted(W::KIND, Restart::Failed);
                }
            }
            match end {
                End::Unheard => return,
                End::Finished => {}
                End::Forgotten => self.resume = None,
                End::Absent => {
                    self.watches.enter(W::KIND, Phase::Absent);
                    if self.mended(true).await.is_err() {
                        return;
                    }
                    sleep(ABSENT).await;
                    continue;
                }
                End::Doubtful(known) => {
                    let message = format!(
                        "the server lists none, where {known} were known; they are kept until it has said so for {DOUBT:?}"
                    );
                    if self.failed(message).await.is_err() {
                        return;
                    }
                    sleep(ASK_AGAIN).await;
                    continue;
                }
                End::Failed(message) => {
                    if self.failed(message).await.is_err() {
                        return;
                    }
                }
            }
            // Also after a watch that ended as it should: one that ends at once, again and again, must not spin.
            sleep(backoff.next()).await;
        }
    }

    async fn list(&mut self) -> End {
        self.watches.enter(W::KIND, Phase::Listing);
        self.collection.begin();
        if self.streams_lists { self.streamed_list().await } else { self.paged_list().await }
    }

    async fn watch(&mut self, version: &str) -> End {
        match self.open(&watch_params(), version).await {
            Ok(events) => {
                if self.mended(false).await.is_err() {
                    return End::Unheard;
                }
                self.watches.enter(W::KIND, Phase::Watching);
                self.watch_events(events).await
            }
            Err(error) => self.why(error),
        }
    }

    pub(super) async fn watch_events(&mut self, mut events: Events<W>) -> End {
        loop {
            match timeout(SILENCE, events.next()).await {
                Ok(Some(batch)) => {
                    // An answer that is a refusal says nothing of the kind.
                    if batch.iter().any(Result::is_ok) {
                        self.watches.heard(W::KIND);
                    }
                    if let Some(end) = self.take(batch).await {
                        return end;
                    }
                }
                Ok(None) => return End::Finished,
                Err(_) => return End::Failed("the server says nothing any more".to_owned()),
            }
        }
    }

    /// Events of a watch. Says why it must end, if so.
    pub(super) async fn take(&mut self, batch: Vec<kube::Result<WatchEvent<Cut<W>>>>) -> Option<End> {
        let mut told = Vec::new();
        let (mut end, mut newest) = (None, None);
        for event in batch {
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    newest = Some(object.version().to_string());
                    told.extend(self.collection.changed(object));
                }
                Ok(WatchEvent::Deleted(object)) => {
                    newest = Some(object.version().to_string());
                    told.extend(self.collection.gone(&object));
                }
                Ok(WatchEvent::Bookmark(mark)) => newest = Some(mark.metadata.resource_version),
                Ok(WatchEvent::Error(status)) => end = Some(self.why(kube::Error::Api(status))),
                // What cannot be read must not be passed over: the list says it again.
                Err(kube::Error::SerdeError(error)) => {
                    tracing::warn!(kind = W::KIND, %error, "an event cannot be read");
                    end = Some(End::Forgotten);
                }
                Err(error) => end = Some(self.why(error)),
            }
            if end.is_some() {
                break;
            }
        }
        let told = match newest {
            Some(version) => self.seen(told, version, false).await,
            None => self.tell(told, false).await,
        };
        if told.is_err() { Some(End::Unheard) } else { end }
    }

    pub(super) async fn open(&self, params: &WatchParams, version: &str) -> kube::Result<Events<W>> {
        let request = Request::new(W::PATH).watch(params, version).map_err(kube::Error::BuildRequest)?;
        let events = self.client.request_events::<Cut<W>>(request).await?;
        Ok(Box::pin(events.ready_chunks(PAGE as usize)))
    }

    /// Hands on what was told up to `version`.
    pub(super) async fn seen(
        &mut self,
        told: Vec<SourceEvent>,
        version: String,
        complete: bool,
    ) -> Result<(), Unheard> {
        self.newest.clone_from(&version);
        self.resume = Some(version.clone());
        self.watches.enter(W::KIND, Phase::Watching);
        self.watches.heard(W::KIND);
        self.send(Told { version: Some(version), ..self.told(told, complete) }).await
    }

    pub(super) fn why(&mut self, error: kube::Error) -> End {
        match &error {
            kube::Error::Api(status) if status.code == 410 => End::Forgotten,
            kube::Error::Api(status) if status.code == 404 && W::OPTIONAL => End::Absent,
            kube::Error::Api(status) => {
                // A server that was set back will never reach the version that was seen.
                if status.code == 504 && self.resume.is_none() {
                    self.newest.clear();
                }
                End::Failed(format!("{} ({})", status.message, status.code))
            }
            _ => End::Failed(chain(&error)),
        }
    }

    pub(super) async fn tell(&self, events: Vec<SourceEvent>, complete: bool) -> Result<(), Unheard> {
        self.send(self.told(events, complete)).await
    }

    fn told(&self, events: Vec<SourceEvent>, complete: bool) -> Told {
        Told { kind: W::KIND, events, problems: self.problems(), complete, version: None }
    }

    async fn send(&self, told: Told) -> Result<(), Unheard> {
        self.out.send(told).await.map_err(|_closed| Unheard)
    }

    pub(super) async fn mended(&mut self, complete: bool) -> Result<(), Unheard> {
        if self.trouble.take().is_some() {
            tracing::info!(kind = W::KIND, "the server answers again");
        } else if !complete {
            return Ok(());
        }
        self.tell(Vec::new(), complete).await
    }

    async fn failed(&mut self, message: String) -> Result<(), Unheard> {
        self.watches.enter(W::KIND, Phase::Failing);
        if self.trouble.as_ref() == Some(&message) {
            return Ok(());
        }
        tracing::warn!(kind = W::KIND, reason = message, "what is known of this kind stays in force");
        self.trouble = Some(message);
        self.tell(Vec::new(), false).await
    }

    fn problems(&self) -> Vec<Problem> {
        let trouble = self.trouble.iter().map(|why| Problem {
            level: Level::Error,
            origin: ORIGIN.to_owned(),
            message: format!("cannot follow objects of kind {}: {why}", W::KIND),
            ..Problem::default()
        });
        trouble.chain(self.collection.problems().cloned()).collect()
    }
}

/// Nobody listens any more.
pub(super) struct Unheard;

pub(super) fn watch_params() -> WatchParams {
    WatchParams { timeout: Some(WATCH_S), bookmarks: true, ..WatchParams::default() }
}

/// An error with everything that it stems from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        // Many errors repeat what they stem from.
        if !text.contains(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
        next = error.source();
    }
    text
}
