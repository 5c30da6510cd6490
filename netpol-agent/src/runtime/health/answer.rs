use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::{Value, json};

use crate::{compile::HealthCheck, runtime::status::Shared};

/// How many backends of the node are ready: Google's load balancers weigh nodes by it.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

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

/// For whoever asks about the node. `eligible`: it is not about to be taken out of the cluster.
pub(super) fn of_node(path: &str, eligible: bool, healthy: bool) -> Response<String> {
    let body = json!({"nodeEligible": eligible, "serviceProxyHealthy": healthy});
    match path {
        "/healthz" => response(eligible && healthy, &body),
        "/livez" => response(healthy, &body),
        _ => {
            let mut response = Response::new("404 page not found\n".to_owned());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

fn response(good: bool, body: &Value) -> Response<String> {
    let mut response = Response::new(body.to_string());
    *response.status_mut() = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
