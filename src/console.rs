//! What may operators see and do? Holds, operations, freezes, records; health and metrics.
//!
//! Never answers without knowing who asks, except for the three probes, which name nobody.

mod api;
mod view;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::json;
use tokio::sync::watch;

use crate::approval::Operator;
use crate::gate::Gate;

/// A token of an operator; the token itself is not kept.
#[derive(Debug)]
pub struct Token {
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Whose it is.
    pub operator: Operator,
}

/// The operators' side of a gate.
#[derive(Debug)]
pub struct Console {
    /// What it shows.
    pub gate: Arc<Gate>,
    /// Who may ask.
    pub tokens: Vec<Token>,
}

/// Where it listens.
#[derive(Debug)]
pub enum Door {
    /// A bound TCP listener.
    Tcp(std::net::TcpListener),
    /// A bound Unix socket, and its file.
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl Console {
    /// Serves the console until `stop` is true.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used.
    pub async fn serve(
        self: Arc<Self>,
        door: Door,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        serve(self.router(), door, stop).await
    }

    /// Serves only the probes until `stop` is true.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used.
    pub async fn serve_probes(
        self: Arc<Self>,
        door: Door,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        serve(probes().with_state(self), door, stop).await
    }

    fn router(self: Arc<Self>) -> Router {
        probes()
            .route("/v1/holds", get(api::holds))
            .route("/v1/holds/{op}", get(api::hold))
            .route("/v1/holds/{op}/approve", post(api::approve))
            .route("/v1/holds/{op}/deny", post(api::deny))
            .route("/v1/freezes", get(api::freezes).post(api::freeze))
            .route("/v1/freezes/{id}", delete(api::unfreeze))
            .route("/v1/operations", get(api::operations))
            .route("/v1/operations/{op}", get(api::operation))
            .route("/v1/operations/{op}/resolve", post(api::resolve))
            .route("/v1/store", get(api::store))
            .route("/v1/store/clear", post(api::clear_loss))
            .route("/v1/records", get(api::records))
            .route("/v1/config", get(api::config))
            .fallback(api::nothing)
            .with_state(self)
    }

    /// Who asks.
    ///
    /// # Errors
    ///
    /// The answer to somebody unknown, which says nothing but that.
    fn operator(&self, headers: &HeaderMap) -> Result<&Operator, Response> {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        // SECURITY: hashes are compared, so how long it takes tells nothing about a token.
        let known = self.tokens.iter().find(|one| one.sha256 == *digest.as_ref());
        known.map(|one| &one.operator).ok_or_else(|| {
            let said = problem(401, "no valid operator token");
            ([(header::WWW_AUTHENTICATE, "Bearer")], said).into_response()
        })
    }
}

fn probes() -> Router<Arc<Console>> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(State(console): State<Arc<Console>>) -> Response {
    match console.gate.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}

async fn metrics(State(console): State<Arc<Console>>) -> Response {
    let text = console.gate.metrics().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// An error in the shape of RFC 9457.
fn problem(status: u16, detail: &str) -> Response {
    let body = json!({ "status": status, "detail": detail }).to_string();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// Binds a TCP address.
///
/// # Errors
///
/// When it is taken.
pub fn bind(address: SocketAddr) -> std::io::Result<Door> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Door::Tcp(listener))
}

/// Binds a Unix socket, over a file that a crash left behind.
///
/// # Errors
///
/// When it cannot be made.
pub fn bind_unix(path: PathBuf) -> std::io::Result<Door> {
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    Ok(Door::Unix(listener, path))
}

async fn serve(router: Router, door: Door, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let stopped = async move {
        // A sender that is gone is a stop as well.
        let _ended = stop.wait_for(|stop| *stop).await.is_err();
    };
    match door {
        Door::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router).with_graceful_shutdown(stopped).await
        }
        Door::Unix(listener, path) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
            std::fs::remove_file(&path)?;
            served
        }
    }
}
