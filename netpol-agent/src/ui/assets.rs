//! The page's files, in the program itself.

use axum::response::{IntoResponse, Response};
use hyper::{Method, StatusCode, Uri, header::CONTENT_TYPE};

use super::answer::Refusal;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $kind:ident),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("../../assets/ui/", $name)))),*]
    };
}

/// Name, media type, content.
pub(super) const ASSETS: &[(&str, &str, &str)] = assets![
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": SVG,
    "main.js": SCRIPT,
    "state.js": SCRIPT,
    "view.js": SCRIPT,
    "filters.js": SCRIPT,
    "flows.js": SCRIPT,
    "map.js": SCRIPT,
    "layout.js": SCRIPT,
    "policy.js": SCRIPT,
    "explain.js": SCRIPT,
    "vendor/preact.js": SCRIPT,
    "vendor/htm.js": SCRIPT,
    // Whoever gets a copy of the program gets these too.
    "vendor/preact.LICENSE": TEXT,
    "vendor/htm.LICENSE": TEXT,
];

/// What is no question to the API.
pub(super) async fn asset(method: Method, uri: Uri) -> Response {
    let name = match uri.path() {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    match ASSETS.iter().find(|(asset, ..)| *asset == name) {
        Some(_) if method != Method::GET && method != Method::HEAD => {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the page can only be read").into()
        }
        Some((_, kind, content)) => ([(CONTENT_TYPE, *kind)], *content).into_response(),
        None => Refusal::new(StatusCode::NOT_FOUND, "there is no such page").into(),
    }
}
