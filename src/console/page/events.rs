//! What changed just now? A stream of small events; the page reads itself again and shows what is new.
//!
//! Server-sent events as the HTML standard has them (9.2). An event names an operation only to who may see it,
//! and carries no text of anybody's. Streams are few, end with their session, and say it when they fell behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};

use crate::call::OperationId;
use crate::console::Console;
use crate::console::guard::Signed;
use crate::console::problem;

/// BOUND: pages that are live at once. One is a task and a few KiB.
pub const STREAMS_MAX: usize = 64;
/// BOUND: a stream lives so long; then the browser begins another, and is asked again who it is.
const LIFE: Duration = Duration::from_secs(600);
/// What a browser hears at least, so that it knows a lost connection from a quiet hour.
const BEAT: Duration = Duration::from_secs(15);
/// How often what is in memory is looked at: freezes, the number of calls.
const LOOK: Duration = Duration::from_secs(2);
/// Changes that come together are told together.
const GATHER: Duration = Duration::from_millis(150);
/// BOUND: so many changes at once are told one by one; more only that there are some.
const TOLD_MAX: usize = 20;

/// Whether a browser had a stream before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    First,
    Again,
}

/// One stream, from its first event to its end.
struct Stream {
    console: Arc<Console>,
    signed: Signed,
    out: mpsc::Sender<Result<String, std::convert::Infallible>>,
    changes: broadcast::Receiver<OperationId>,
    number: u64,
    frozen: Vec<String>,
    calls: u64,
    _place: OwnedSemaphorePermit,
}

const KIND: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/event-stream");

pub async fn events(
    State(console): State<Arc<Console>>,
    signed: Signed,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let place = Arc::clone(&console.streams).try_acquire_owned();
    let Ok(place) = place else {
        let said = problem(503, "too many pages are live: this one is not, load it again by hand");
        return Err(([(header::RETRY_AFTER, "60")], said).into_response());
    };
    // BOUND: what a slow browser did not take yet.
    let (out, taken) = mpsc::channel(32);
    let stream = Stream {
        changes: console.gate().store.changes(),
        frozen: frozen(&console, &signed),
        calls: calls(&console),
        number: 0,
        console,
        signed,
        out,
        _place: place,
    };
    let again = headers.contains_key("last-event-id");
    let begins = if again { Begins::Again } else { Begins::First };
    tokio::spawn(stream.run(begins));
    let body = Body::from_stream(futures_util::stream::unfold(taken, |mut taken| async {
        Some((taken.recv().await?, taken))
    }));
    Ok(([KIND], body).into_response())
}

fn frozen(console: &Console, signed: &Signed) -> Vec<String> {
    console.freezes(signed).into_iter().map(|(freeze, _)| freeze.id.to_string()).collect()
}

fn calls(console: &Console) -> u64 {
    let totals = console.gate().telemetry.totals();
    totals.calls.iter().flatten().fold(0, |sum, calls| sum.saturating_add(*calls))
}

/// One event as a stream has it.
fn written(name: &str, number: u64, data: &serde_json::Value) -> String {
    format!("event: {name}\nid: {number}\ndata: {data}\n\n")
}

/// Somebody hung up, or it is over.
struct Over;

impl Stream {
    async fn run(mut self, begins: Begins) {
        let closing = self.console.gate().closing.clone();
        let session = self.signed.session().cloned();
        let ended = async {
            match &session {
                Some(session) => session.ended().cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _over = self.tell(begins) => {}
            () = closing.cancelled() => {}
            () = ended => {}
            () = tokio::time::sleep(LIFE) => {}
        }
    }

    async fn tell(&mut self, begins: Begins) -> Result<(), Over> {
        let at = self.console.gate().clock.now().to_string();
        // The HTML standard, 9.2.6: after how long a browser tries again, in ms.
        self.raw("retry: 2000\n\n".to_owned()).await?;
        self.event("hello", &json!({ "at": at })).await?;
        if begins == Begins::Again {
            // Nobody knows what it missed.
            self.event("refresh", &json!({})).await?;
        }
        let mut look = tokio::time::interval(LOOK);
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                change = self.changes.recv() => self.changed(change).await?,
                _ = look.tick() => self.look().await?,
                _ = beat.tick() => {
                    if self.session_is_over() {
                        return Ok(());
                    }
                    self.event("beat", &json!({})).await?;
                }
            }
        }
    }

    fn session_is_over(&self) -> bool {
        let now = self.console.gate().clock.now();
        let is_out = self.signed.until().is_some_and(|until| until <= now);
        is_out || self.signed.session().is_some_and(|session| !session.is_on(now))
    }

    async fn changed(&mut self, change: Result<OperationId, RecvError>) -> Result<(), Over> {
        let first = match change {
            Ok(op) => op,
            Err(RecvError::Lagged(_)) => return self.event("refresh", &json!({})).await,
            Err(RecvError::Closed) => return Err(Over),
        };
        tokio::time::sleep(GATHER).await;
        let mut ops = BTreeSet::from([first]);
        while let Ok(op) = self.changes.try_recv() {
            ops.insert(op);
        }
        if ops.len() > TOLD_MAX {
            return self.event("refresh", &json!({})).await;
        }
        for op in ops {
            self.one(op).await?;
        }
        Ok(())
    }

    /// SECURITY: an operation is named only to who may see it; somebody else's is no event at all.
    async fn one(&mut self, op: OperationId) -> Result<(), Over> {
        let Ok(record) = self.console.gate().approvals.show(op).await else { return Ok(()) };
        if !self.signed.sees(&record) {
            return Ok(());
        }
        let answers = record.hold.as_ref().map_or(0, |hold| hold.yes.len());
        let digest = record.hold.as_ref().map(|hold| hold.shown.to_string());
        let told = json!({
            "op": op.to_string(),
            "state": record.state.name(),
            "digest": digest,
            "answers": answers,
        });
        self.event("change", &told).await
    }

    async fn look(&mut self) -> Result<(), Over> {
        let frozen = frozen(&self.console, &self.signed);
        if frozen != self.frozen {
            self.frozen = frozen;
            self.event("frozen", &json!({ "count": self.frozen.len() })).await?;
        }
        let calls = calls(&self.console);
        // How much goes on is everybody's number: not for who is bound to tenants.
        if calls != self.calls && self.signed.is_bound_to_no_tenant() {
            self.calls = calls;
            self.event("calls", &json!({ "total": calls })).await?;
        }
        Ok(())
    }

    async fn event(&mut self, name: &'static str, data: &serde_json::Value) -> Result<(), Over> {
        self.number = self.number.saturating_add(1);
        let text = written(name, self.number, data);
        self.raw(text).await
    }

    async fn raw(&mut self, text: String) -> Result<(), Over> {
        self.out.send(Ok(text)).await.map_err(|_| Over)
    }
}
