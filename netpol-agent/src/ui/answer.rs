//! Answers about objects: their names, a policy's text, an explanation.

use axum::{
    Json,
    extract::State as Shared,
    response::{IntoResponse, Response},
};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::{
    Desk,
    query::{Fields, one},
    rule_lines::{Lines, lines_of},
};
use crate::{
    ctl::{
        State,
        api::{ExplainRequest, Explanation, Way},
    },
    model::Name,
    oracle::{Miss, Verdict},
};

/// Why there is no answer, as `{"error": …}`.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    pub(super) fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self(status, words.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        refusal.into_response()
    }
}

/// Who can be asked about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Names {
    /// Whose page this is: each port that is forwarded looks like any other.
    node: String,
    /// Of this node.
    pods: Vec<Name>,
    services: Vec<Name>,
    policies: Vec<Name>,
}

/// The names that inputs suggest.
pub(super) async fn names<S: State>(Shared(desk): Shared<Desk<S>>) -> Json<Names> {
    Json(Names {
        node: desk.state.node().to_owned(),
        pods: desk.state.endpoints().into_iter().filter_map(|endpoint| endpoint.pod).collect(),
        services: desk.state.services().into_iter().map(|view| view.service).collect(),
        policies: desk.state.policies().into_iter().map(|view| view.policy).collect(),
    })
}

/// A policy as the source has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct PolicyText {
    policy: Name,
    /// `metadata.generation`, 0 if the source has none.
    generation: i64,
    yaml: String,
    /// Where the rule is that was asked for, if it is there.
    rule: Option<Lines>,
}

/// One policy: `namespace`, `name`, and which lines of it are the rule `rule` (`spec.ingress[0]`).
pub(super) async fn policy<S: State>(
    Shared(desk): Shared<Desk<S>>,
    fields: Fields,
) -> Result<Json<PolicyText>, Refusal> {
    let name = Name::new(one(&fields, "namespace"), one(&fields, "name"));
    let Some(mut policy) = desk.state.policy(&name) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no NetworkPolicy {name}")));
    };
    // Who wrote which field is longer than the policy, and says nothing about it.
    policy.metadata.managed_fields = None;
    let generation = policy.metadata.generation.unwrap_or_default();
    let yaml = serde_saphyr::to_string(&policy)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{name}: {error}")))?;
    let rule = lines_of(&yaml, one(&fields, "rule"));
    Ok(Json(PolicyText { policy: name, generation, yaml, rule }))
}

/// What a connection would meet: `from`, `to`, `port`, `protocol`, as `netpolctl explain` takes them.
pub(super) async fn explain<S: State>(
    Shared(desk): Shared<Desk<S>>,
    fields: Fields,
) -> Result<Json<Explained>, Refusal> {
    let wrong = |words: String| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, words);
    let port = match one(&fields, "port") {
        "" => None,
        text => Some(text.parse().map_err(|error| wrong(format!("port: {text:?} is no port: {error}")))?),
    };
    let text = |name| one(&fields, name).to_owned();
    let request = ExplainRequest { from: text("from"), to: text("to"), port, protocol: text("protocol") };
    let ended = |error: &dyn std::error::Error| {
        tracing::error!(%error, "an explanation for the page");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the explanation has ended early")
    };
    let turn = desk.explaining.acquire_owned().await.map_err(|error| ended(&error))?;
    let answer = tokio::task::spawn_blocking(move || {
        let answer = desk.state.explain(&request);
        drop(turn);
        answer
    });
    let answer = answer.await.map_err(|error| ended(&error))?;
    match answer {
        Ok(explanation) => Ok(Json(Explained::from(explanation))),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// An explanation, and in words what the rules lacked that missed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    /// For each way.
    lacks: Vec<Lacks>,
}

/// For each rule that missed, the peers and ports that do not match, each with the reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Lacks {
    egress: Vec<Vec<String>>,
    ingress: Vec<Vec<String>>,
}

impl From<Explanation> for Explained {
    fn from(explanation: Explanation) -> Self {
        let lacks = |way: &Way| Lacks { egress: lacks_of(&way.egress), ingress: lacks_of(&way.ingress) };
        Self { lacks: explanation.ways.iter().map(lacks).collect(), explanation }
    }
}

fn lacks_of(verdict: &Verdict) -> Vec<Vec<String>> {
    let of_miss = |miss: &Miss| {
        let peers = miss.peers.iter().map(|peer| format!("{}: {}", peer.path, peer.why));
        peers.chain(miss.ports.iter().map(|port| format!("{}: {}", port.path, port.why))).collect()
    };
    match verdict {
        Verdict::Denied { misses, .. } | Verdict::Audited { misses, .. } => {
            misses.iter().map(of_miss).collect()
        }
        _ => Vec::new(),
    }
}
