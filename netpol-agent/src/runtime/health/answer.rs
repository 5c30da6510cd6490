use std::time::Duration;

use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::{Value, json};

use crate::{
    compile::HealthCheck,
    runtime::status::Shared,
    source::{Phase, Watches},
};

/// How many backends of the node are ready: Google's load balancers weigh nodes by it.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The media type of OpenMetrics 1.0.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// A loop that is at one thing for so long does not come back. One operation takes microseconds, the largest plan seconds.
const STILL: Duration = Duration::from_secs(60);

/// Whether what is wanted is in force, as far as that could be.
pub(super) fn is_healthy(shared: &Shared) -> bool {
    let status = shared.status();
    status.synced && status.failure.is_none()
}

/// For a load balancer.
pub(super) fn of_service(check: &HealthCheck, ready: usize, healthy: bool) -> Response<String> {
    let mut response = response(
        ready > 0 && healthy,
        &json!({
            "service": {"namespace": check.service.namespace, "name": check.service.name},
            "localEndpoints": ready,
            "serviceProxyHealthy": healthy,
        }),
    );
    response.headers_mut().insert(WEIGHT, HeaderValue::from(ready));
    response
}

/// What there is to say of the agent and its node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Health {
    /// The node is not about to be taken out of the cluster.
    pub(super) eligible: bool,
    /// What is wanted is in force, as far as that can be.
    pub(super) healthy: bool,
    /// What everything at the start has not been put in force yet: why.
    pub(super) waits_for: Vec<String>,
    /// For how long the loop has been at one thing.
    pub(super) still: Duration,
}

impl Health {
    pub(super) fn of(shared: &Shared, watches: &Watches) -> Self {
        let status = shared.status();
        let mut waits_for = Vec::new();
        if !status.synced {
            let open = watches
                .all()
                .into_iter()
                .filter(|(_, watch)| watch.version.is_empty() && watch.phase != Phase::Absent);
            waits_for.extend(open.map(|(kind, watch)| format!("{kind}: {}", watch.phase.name())));
            if waits_for.is_empty() {
                waits_for.push("the source".to_owned());
            }
        } else if !status.programmed {
            waits_for.push("the dataplane".to_owned());
        }
        waits_for.extend(status.failure.map(|failure| format!("the dataplane: {failure}")));
        Self {
            eligible: !shared.engine().node_is_leaving(),
            healthy: is_healthy(shared),
            waits_for,
            still: shared.pulse().still_for(),
        }
    }
}

/// For whoever asks about the node.
pub(super) fn of_node(path: &str, health: &Health) -> Response<String> {
    let Health { eligible, healthy, waits_for, still } = health;
    match path {
        "/healthz" => {
            let body = json!({"nodeEligible": eligible, "serviceProxyHealthy": healthy});
            response(*eligible && *healthy, &body)
        }
        "/readyz" => {
            let ready = waits_for.is_empty();
            response(ready, &json!({"ready": ready, "waitsFor": waits_for}))
        }
        "/livez" => {
            let live = *still < STILL;
            response(live, &json!({"live": live, "busyForSeconds": still.as_secs()}))
        }
        _ => not_found(),
    }
}

/// For Prometheus.
pub(super) fn of_metrics(text: String) -> Response<String> {
    let mut response = Response::new(text);
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    response
}

pub(super) fn not_found() -> Response<String> {
    let mut response = Response::new("404 page not found\n".to_owned());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn response(good: bool, body: &Value) -> Response<String> {
    let mut response = Response::new(body.to_string());
    *response.status_mut() = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
