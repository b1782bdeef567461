//! Is the process well? What a probe and a scraper read; it names nobody.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Console;

pub async fn alive() -> &'static str {
    "ok\n"
}

pub async fn ready(State(console): State<Arc<Console>>) -> Response {
    match console.gate().ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}

pub async fn metrics(State(console): State<Arc<Console>>) -> Response {
    let text = console.gate().metrics().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
