//! What does an operator read at three in the morning? One line for each thing that happened, in
//! words, with the next command.
//!
//! Never lets a character of somebody else's text act on a terminal, and never makes a call wait for
//! whoever reads the log.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use super::LogFormat;
use super::otlp::{Attribute, Message, Otlp, Values, hex};
use crate::call::{DecisionId, OperationId};
use crate::clock::Timestamp;

/// BOUND: lines on their way; more than nobody takes are left out and counted.
const LINES_MAX: usize = 1_024;
/// BOUND: the longest text in a line, in characters.
const TEXT_CHARS_MAX: usize = 512;

/// What a collector is told of a call's line, where it is told no values.
const OF_CALLS: [&str; 12] = [
    "action",
    "agent",
    "tenant",
    "decision",
    "code",
    "policies",
    "operation",
    "decision_id",
    "upstream",
    "status",
    "ms",
    "upstream_ms",
];
/// What it is not told of other lines.
const OF_CUSTOMERS: [&str; 4] = ["customer", "account", "owner", "case"];

/// How long lines are gathered before they are written, all at once.
const GATHER: Duration = Duration::from_millis(2);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Reads.
    Debug,
    /// What was meant to happen: effects, holds, refusals.
    Info,
    /// What somebody should look at today.
    Warn,
    /// What somebody should look at now.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// opentelemetry/proto/logs/v1: SeverityNumber, and its text.
    fn severity(self) -> (u64, &'static str) {
        match self {
            Self::Debug => (5, "DEBUG"),
            Self::Info => (9, "INFO"),
            Self::Warn => (13, "WARN"),
            Self::Error => (17, "ERROR"),
        }
    }
}

/// One line, being put together.
#[derive(Debug)]
pub struct LogLine {
    level: Level,
    /// Whether it tells of a call, whose values are nobody's business elsewhere.
    is_of_call: bool,
    members: Vec<(&'static str, Said)>,
}

/// What stands behind a name.
#[derive(Debug)]
enum Said {
    Text(Box<str>),
    /// A text of ours, in which nothing acts.
    Plain(&'static str),
    Number(u64),
    Decision(DecisionId),
    Operation(OperationId),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Plain(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Decision(id) => id.fmt(f),
            Self::Operation(id) => id.fmt(f),
        }
    }
}

impl LogLine {
    /// A line that says what happened.
    pub fn new(level: Level, what: &str) -> Self {
        // BOUND: what a call's line has at most.
        let mut line = Self { level, is_of_call: false, members: Vec::with_capacity(20) };
        line.text("what", Some(what));
        line
    }

    /// It tells of a call.
    pub(super) fn of_call(mut self) -> Self {
        self.is_of_call = true;
        self
    }

    /// Adds a text, if there is one; what would act on a terminal is written out.
    pub fn text(&mut self, name: &'static str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.members.push((name, Said::Text(harmless(text))));
        }
        self
    }

    /// Adds a number, if there is one.
    pub fn number(&mut self, name: &'static str, number: Option<u64>) -> &mut Self {
        self.members.extend(number.map(|number| (name, Said::Number(number))));
        self
    }

    /// Adds a word of ours, if there is one.
    pub fn plain(&mut self, name: &'static str, word: Option<&'static str>) -> &mut Self {
        self.members.extend(word.map(|word| (name, Said::Plain(word))));
        self
    }

    /// Adds the name of an operation, if there is one.
    pub fn operation(&mut self, operation: Option<OperationId>) -> &mut Self {
        self.members.extend(operation.map(|id| ("operation", Said::Operation(id))));
        self
    }

    /// Adds the name of a decision, if there is one.
    pub fn decision(&mut self, decision: Option<DecisionId>) -> &mut Self {
        self.members.extend(decision.map(|id| ("decision_id", Said::Decision(id))));
        self
    }

    /// Adds something that can be shown, if there is one.
    pub fn shown(
        &mut self,
        name: &'static str,
        value: Option<&dyn std::fmt::Display>,
    ) -> &mut Self {
        self.text(name, value.map(|value| value.to_string()).as_deref())
    }

    /// Lays it out for a collector; without values only what no customer and no argument stands in.
    pub(super) fn lay_out(&self, m: &mut Message<'_>, at: Timestamp, values: Values) {
        let nanos = u64::try_from(at.0).unwrap_or(0).saturating_mul(1_000_000);
        let (number, text) = self.level.severity();
        m.fixed_64(1, nanos);
        m.number(2, number);
        m.text(3, text);
        for (name, said) in &self.members {
            match (*name, said) {
                ("what", said) => {
                    let whole = said.to_string();
                    // Behind the colon stands what the call was about.
                    let happened = whole.split(": ").next().unwrap_or_default();
                    let is_whole = values == Values::Told || !self.is_of_somebody();
                    let body = if is_whole { &whole } else { happened };
                    m.message(5, |m| m.any(&Attribute::Text(body)));
                }
                ("trace_id", Said::Text(id)) => {
                    if let Some(id) = hex::<16>(id.as_bytes()).filter(|_| id.len() == 32) {
                        m.bytes(9, &id);
                    }
                }
                ("span_id", Said::Text(id)) => {
                    if let Some(id) = hex::<8>(id.as_bytes()).filter(|_| id.len() == 16) {
                        m.bytes(10, &id);
                    }
                }
                (name, said) if values == Values::Told || self.may_tell(name) => {
                    let value = match said {
                        Said::Number(number) => Attribute::Number(*number),
                        Said::Text(_) | Said::Plain(_) | Said::Decision(_) | Said::Operation(_) => {
                            Attribute::Own(said.to_string())
                        }
                    };
                    m.attribute(6, &format!("tollhouse.{name}"), &value);
                }
                (_, _) => {}
            }
        }
        m.fixed_64(11, nanos);
    }

    /// Whether a call or a customer stands in it: scopes name customers, and people's reasons may.
    fn is_of_somebody(&self) -> bool {
        self.is_of_call || self.members.iter().any(|(name, _)| *name == "scope")
    }

    fn may_tell(&self, name: &str) -> bool {
        match self.is_of_somebody() {
            true => OF_CALLS.contains(&name),
            false => !OF_CUSTOMERS.contains(&name),
        }
    }

    fn written(self, format: LogFormat, at: Timestamp) -> String {
        match format {
            LogFormat::Json | LogFormat::Off => {
                let mut line = format!("{{\"time\":\"{at}\",\"level\":\"{}\"", self.level.name());
                for (name, said) in &self.members {
                    line.push_str(&format!(",\"{name}\":"));
                    match said {
                        Said::Text(text) => line.push_str(&Value::from(&**text).to_string()),
                        Said::Number(number) => line.push_str(&number.to_string()),
                        Said::Plain(_) | Said::Decision(_) | Said::Operation(_) => {
                            line.push_str(&format!("\"{said}\""));
                        }
                    }
                }
                line.push('}');
                line
            }
            LogFormat::Text => {
                let time = at.to_string();
                // The day is on the terminal's title; hours, minutes and seconds are what one reads.
                let time = time.get(11..19).unwrap_or_default();
                let mut line = format!("{time} {:<5}", self.level.name());
                let mut next = String::new();
                for (name, said) in &self.members {
                    match *name {
                        "what" => line.push_str(&format!(" {said}")),
                        // On a line of its own, ready to be copied.
                        "do" => next = format!("\n{:15}-> {said}", ""),
                        name => line.push_str(&format!(" | {name}: {said}")),
                    }
                }
                line.push_str(&next);
                line
            }
        }
    }
}

// SECURITY: line ends forge lines, escape sequences act on terminals, marks of direction turn them.
fn harmless(text: &str) -> Box<str> {
    // Nearly all texts are short, plain and fine.
    if text.len() <= TEXT_CHARS_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for (count, c) in text.chars().enumerate() {
        if count >= TEXT_CHARS_MAX {
            out.push('…');
            break;
        }
        let acts = c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}');
        if acts {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Where lines go.
#[derive(Debug)]
pub(super) struct Log {
    format: LogFormat,
    from: Level,
    out: Out,
    left_out: AtomicU64,
    /// Where a copy goes.
    copy: Option<Arc<Otlp>>,
}

#[derive(Debug)]
enum Out {
    Stderr { lines: Mutex<Option<SyncSender<Sent>>>, thread: Mutex<Option<JoinHandle<()>>> },
    Memory(Arc<Mutex<Vec<String>>>),
}

impl Log {
    /// To standard error, by a thread of its own: who reads slowly stops no call.
    pub(super) fn to_stderr(format: LogFormat) -> Self {
        let (sender, receiver) = sync_channel(LINES_MAX);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&receiver, format));
        let out = Out::Stderr {
            lines: Mutex::new(thread.is_ok().then_some(sender)),
            thread: Mutex::new(thread.ok()),
        };
        Self { format, from: Level::Info, out, left_out: AtomicU64::new(0), copy: None }
    }

    /// Into a list, reads too.
    pub(super) fn to_memory(format: LogFormat, lines: Arc<Mutex<Vec<String>>>) -> Self {
        Self {
            format,
            from: Level::Debug,
            out: Out::Memory(lines),
            left_out: AtomicU64::new(0),
            copy: None,
        }
    }

    /// A copy of each line goes there.
    pub(super) fn copy_to(&mut self, copy: Option<Arc<Otlp>>) {
        self.copy = copy;
    }

    /// From which level on lines are written.
    pub(super) fn from(&mut self, level: Level) {
        self.from = level;
    }

    /// Whether a line of that level would be written: ask before putting it together.
    pub(super) fn takes(&self, level: Level) -> bool {
        level >= self.from && self.format != LogFormat::Off
    }

    pub(super) fn write(&self, line: LogLine, at: Timestamp) {
        if !self.takes(line.level) {
            return;
        }
        if let Some(copy) = &self.copy {
            copy.line(&line, at);
        }
        match &self.out {
            Out::Memory(lines) => lines.lock().push(line.written(self.format, at)),
            Out::Stderr { lines, .. } => {
                let taken = lines.lock().as_ref().is_some_and(|l| l.try_send((line, at)).is_ok());
                if !taken {
                    self.left_out.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// How many lines nobody took since this was last asked.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Out::Stderr { lines, thread } = &self.out {
            drop(lines.lock().take());
            let thread = thread.lock().take();
            // A thread that panicked has nothing more to write.
            drop(thread.map(JoinHandle::join));
        }
    }
}

/// A line on its way, and when it was said: whoever writes it puts it into words.
type Sent = (LogLine, Timestamp);

fn write_all(lines: &Receiver<Sent>, format: LogFormat) {
    let mut text = String::new();
    while let Ok(first) = lines.recv() {
        // Who says something while this sleeps need not wake it: a flood of refusals is no flood of
        // system calls.
        std::thread::sleep(GATHER);
        for (line, at) in std::iter::once(first).chain(lines.try_iter()) {
            text.push_str(&line.written(format, at));
            text.push('\n');
        }
        // Nobody reads it: nobody can be told.
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
        text.clear();
    }
}
