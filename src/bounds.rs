//! Every hard limit of the process, each with its unit and its why.

use std::time::Duration;

/// A request body, in bytes. Vendor calls of agents are a few KiB; 1 MiB leaves room and bounds memory.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// A buffered upstream answer, in bytes. Lists of 100 objects are some 300 KiB.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// A request target, in bytes: what common servers accept.
pub const TARGET_BYTES_MAX: usize = 8 << 10;
/// A request's header lines: more is no SDK.
pub const HEADERS_MAX: usize = 100;
/// All header lines together, in bytes.
pub const HEADER_BYTES_MAX: usize = 32 << 10;
/// Nesting of a body. Vendor bodies nest five deep; a parser's stack is finite.
pub const DEPTH_MAX: usize = 32;
/// Values in one body, of any kind.
pub const VALUES_MAX: usize = 10_000;
/// Nesting of an upstream's answer: expanded objects nest deeper than what an agent writes.
pub const ANSWER_DEPTH_MAX: usize = 64;
/// Values in one answer. A full `ANSWER_BYTES_MAX` of vendor JSON has some 300,000; each takes at
/// most 64 bytes in memory beside its text.
pub const ANSWER_VALUES_MAX: usize = 500_000;
/// Members of one form or query.
pub const PAIRS_MAX: usize = 1_000;
/// A token, in bytes. RS256 tokens with a few claims are 1 to 2 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// A value of one of our context headers, in bytes.
pub const CONTEXT_BYTES_MAX: usize = 512;
/// Reading a request's head: a slow sender does not keep a connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Reading a request's body, all of it.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a keep-alive connection may idle.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// One fact, the whole exchange.
pub const FACT_TIMEOUT: Duration = Duration::from_secs(5);
/// A repeat of a call in flight waits this long for its answer.
pub const JOIN_WAIT: Duration = Duration::from_secs(2);
/// `Prefer: wait` at most; SDKs give up at 80 s.
pub const HOLD_WAIT_MAX: Duration = Duration::from_secs(60);
/// A verified token is remembered this long at most.
pub const TOKEN_CACHE_MAX: Duration = Duration::from_secs(300);
/// The same again under another key joins the first within this window.
pub const SAME_WINDOW: Duration = Duration::from_secs(10 * 60);
/// An answer that nobody collected is joined this long.
pub const UNCOLLECTED_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// An operation that is submitted for longer than its deadline and this is unknown.
pub const LEASE_MARGIN: Duration = Duration::from_secs(10);
/// A settled operation is kept at least this long.
pub const KEEP_DONE: Duration = Duration::from_secs(48 * 60 * 60);
/// A settled financial operation is kept at least this long: card networks' usual month.
pub const KEEP_FINANCIAL: Duration = Duration::from_secs(35 * 24 * 60 * 60);
/// BOUND: windows of budgets and of the likeness guard reach back a month at most; older spending is
/// dropped.
pub const WITHIN_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// Writing an answer to an agent that reads slowly: 8 MiB at 2 Mbit/s.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Agents' connections at once; an idle one holds some 8 KiB.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Calls in the process at once, unless the configuration says otherwise: each is some 10 KiB with a usual
/// body and answer. More than this waits for upstreams that do not answer.
pub const CALLS_MAX: u32 = 2_000;
/// A stored answer, in bytes, for replays. Answers to effects are a few KiB; a larger one is told as
/// `already_done`.
pub const STORED_ANSWER_BYTES_MAX: usize = 1 << 20;
