//! Keeps other sites' pages out. A browser lets a page ask any address for which its own name resolves (DNS rebinding): who asks
//! by a name that is not ours is such a page.

use std::net::IpAddr;

use axum::{extract::Request, middleware::Next, response::Response};
use hyper::{
    HeaderMap, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
    http::uri::Authority,
};

use super::answer::Refusal;

/// Everything comes from the agent, and no text becomes HTML: with trusted types and no policy for them a browser refuses
/// every assignment of a text to something like `innerHTML`.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Answers those only who mean this agent, and tells the browser what the page may do.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let meant = request.uri().authority().is_none_or(is_ours) && asks_us(request.headers());
    let mut response = if meant {
        next.run(request).await
    } else {
        let words = "the Host header must be an IP address or localhost, to keep other sites' pages out";
        Refusal::new(StatusCode::MISDIRECTED_REQUEST, words).into()
    };
    let headers = response.headers_mut();
    HEADERS.into_iter().for_each(|(name, value)| drop(headers.insert(name, HeaderValue::from_static(value))));
    response
}

/// Whether there is exactly one `Host`, and it is ours.
fn asks_us(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            host.to_str().ok().and_then(|host| host.parse().ok()).is_some_and(|a| is_ours(&a))
        }
        _ => false,
    }
}

/// Addresses and `localhost` are no names that somebody else can make resolve to this node.
fn is_ours(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    !authority.as_str().contains('@')
        && (host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok())
}
