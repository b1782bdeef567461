//! How does a streamed answer go on? Chunk by chunk, as it comes, until it ends or something ends it:
//! the agent's going away, a silence, or the time.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Upstream;
use crate::call::{Chunk, Ended};

/// Where chunks come from.
pub(super) trait Source {
    /// The next one; `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, String>> + Send;
}

/// How long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spans {
    /// Altogether, and for the agent to take what it is given.
    total: Duration,
    /// Between two chunks.
    quiet: Duration,
}

impl Spans {
    pub(super) fn of(to: &Upstream) -> Self {
        Self { total: to.stream, quiet: to.stream_idle }
    }
}

/// Hands chunks on; says how it ended. Only after [`Ended::Whole`] was the end handed on too.
pub(super) async fn pump(from: &mut impl Source, to: &mpsc::Sender<Chunk>, spans: Spans) -> Ended {
    let mut total = std::pin::pin!(sleep(spans.total));
    loop {
        let came = tokio::select! {
            biased;
            // At once, not at the next chunk: an upstream may be silent for long.
            () = to.closed() => return Ended::Agent,
            () = &mut total => return Ended::Time,
            came = timeout(spans.quiet, from.chunk()) => came,
        };
        let chunk = match came {
            Ok(Ok(Some(bytes))) => Chunk::Bytes(bytes),
            Ok(Ok(None)) => Chunk::End,
            Ok(Err(_)) => return Ended::Upstream,
            Err(_) => return Ended::Quiet,
        };
        let last = chunk == Chunk::End;
        let sent = tokio::select! {
            biased;
            sent = to.send(chunk) => sent,
            () = &mut total => return Ended::Time,
        };
        match (sent, last) {
            (Err(_), _) => return Ended::Agent,
            (Ok(()), true) => return Ended::Whole,
            (Ok(()), false) => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    /// Says `x` so often with a pause before each, then what comes last.
    struct Script(usize, Duration, Result<Option<Bytes>, String>);

    impl Source for Script {
        async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
            sleep(self.1).await;
            match self.0.checked_sub(1) {
                Some(left) => {
                    self.0 = left;
                    Ok(Some(Bytes::from_static(b"x")))
                }
                None => self.2.clone(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_its_upstream_or_in_time() {
        let second = Duration::from_secs(1);
        for (pause, last, expected) in [
            (second, Ok(None), Ended::Whole),
            (second, Err(String::new()), Ended::Upstream),
            (second * 11, Ok(None), Ended::Quiet),
            (second * 9, Ok(None), Ended::Time),
        ] {
            let spans = Spans { total: second * 30, quiet: second * 10 };
            let (sender, mut receiver) = mpsc::channel(16);
            let mut script = Script(5, pause, last);
            assert_eq!(pump(&mut script, &sender, spans).await, expected);
            drop(sender);
            let mut end = None;
            while let Some(chunk) = receiver.recv().await {
                end = Some(chunk);
            }
            assert_eq!(end == Some(Chunk::End), expected == Ended::Whole, "{expected:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_leaves_or_takes_nothing_ends_it() {
        let hour = Duration::from_secs(3600);
        let spans = Spans { total: hour, quiet: hour };
        let (sender, receiver) = mpsc::channel(1);
        let mut silent = Script(5, hour / 2, Ok(None));
        let pumped =
            async { timeout(Duration::from_secs(9), pump(&mut silent, &sender, spans)).await };
        let (ended, ()) = tokio::join!(pumped, async {
            sleep(Duration::from_secs(1)).await;
            drop(receiver);
        });
        assert_eq!(ended.unwrap(), Ended::Agent);
        let (sender, _taken_by_nobody) = mpsc::channel(1);
        let mut busy = Script(usize::MAX, Duration::from_millis(1), Ok(None));
        assert_eq!(pump(&mut busy, &sender, spans).await, Ended::Time);
    }
}
