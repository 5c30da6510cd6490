//! Flow records as they are in `docs/flows.md`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State as Shared,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::jiff::Timestamp;

use super::{
    Desk,
    answer::Refusal,
    query::{Fields, Wanted},
};
use crate::{
    ctl::State,
    flow::{FlowRecord, Followed, Follower},
};

/// So long after a connection has ended the browser opens another.
const RETRY: Duration = Duration::from_secs(1);

/// Kept records, oldest first.
pub(super) async fn recent<S: State>(
    Shared(desk): Shared<Desk<S>>,
    fields: Fields,
) -> Result<Json<Vec<Arc<FlowRecord>>>, Refusal> {
    let Wanted { filter, last } = Wanted::read(&fields, Timestamp::now())?;
    Ok(Json(desk.state.flows().recent(&filter, last)))
}

/// Kept records, then every new one, as server-sent events: `flow` with a record, `lost` and `missed` with a number.
pub(super) async fn follow<S: State>(
    Shared(desk): Shared<Desk<S>>,
    fields: Fields,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let Wanted { filter, last } = Wanted::read(&fields, Timestamp::now())?;
    let follower = desk.state.flows().follow(filter, last);
    // Agents come back within seconds, if they go.
    let begin = stream::iter([Ok(Event::default().retry(RETRY))]);
    Ok(Sse::new(begin.chain(stream::unfold(follower, next))).keep_alive(KeepAlive::default()))
}

async fn next(mut follower: Follower) -> Option<(Result<Event, Infallible>, Follower)> {
    let (name, text) = match follower.next().await? {
        Followed::Record(record) => match serde_json::to_string(&*record) {
            Ok(text) => ("flow", text),
            Err(error) => {
                tracing::error!(%error, "a flow record that cannot be written");
                ("lost", "1".to_owned())
            }
        },
        Followed::Lost(count) => ("lost", count.to_string()),
        Followed::Missed(count) => ("missed", count.to_string()),
    };
    Some((Ok(Event::default().event(name).data(text)), follower))
}
