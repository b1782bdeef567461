//! What is sent: requests written out beforehand, in which only numbers and a token change.
//!
//! In a request `{n}` is a number that never comes again, `{c}` the customer and `{t}` that customer's token.

use serde::Deserialize;

/// A run of the load generator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub to: String,
    pub connections: usize,
    pub seconds: f64,
    /// Seconds before them that are not counted.
    pub warm: f64,
    /// Requests a second, sent when they are due; as fast as answers come when 0.
    pub rate: f64,
    /// Requests at most; the time alone ends it when 0.
    #[serde(default)]
    pub at_most: u64,
    /// The first `{n}`.
    pub first: u64,
    pub tokens: String,
    /// Of the tokens' file, so many are used.
    pub callers: usize,
    pub plan: Vec<Kind>,
}

/// One kind of request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    pub name: String,
    /// Of so many requests in a round of all.
    pub weight: usize,
    pub request: String,
    /// The status that is right.
    pub expect: u16,
}

enum Piece {
    Text(Vec<u8>),
    Number,
    Customer,
    Token,
}

/// All kinds, ready to be written.
pub struct Plan {
    kinds: Vec<Vec<Piece>>,
    order: Vec<usize>,
    tokens: Vec<Vec<u8>>,
    next: u64,
}

impl Plan {
    pub fn new(job: &Job) -> Result<Self, String> {
        let tokens =
            std::fs::read_to_string(&job.tokens).map_err(|e| format!("{}: {e}", job.tokens))?;
        let tokens: Vec<Vec<u8>> =
            tokens.lines().take(job.callers).map(|line| line.as_bytes().to_vec()).collect();
        if tokens.len() < job.callers.max(1) {
            return Err(format!("{} has {} tokens only", job.tokens, tokens.len()));
        }
        Ok(Self {
            kinds: job.plan.iter().map(|kind| pieces(&kind.request)).collect(),
            order: order(&job.plan),
            tokens,
            next: job.first,
        })
    }

    /// Writes the next request into `out`; which kind it is.
    pub fn write(&mut self, out: &mut Vec<u8>) -> usize {
        let n = self.next;
        self.next = n.saturating_add(1);
        let turn = |of: usize| usize::try_from(n).unwrap_or(0).checked_rem(of).unwrap_or(0);
        let kind = self.order.get(turn(self.order.len())).copied().unwrap_or(0);
        let customer = turn(self.tokens.len());
        out.clear();
        for piece in self.kinds.get(kind).into_iter().flatten() {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Number => digits::<10>(n, out),
                Piece::Customer => digits::<7>(u64::try_from(customer).unwrap_or(0), out),
                Piece::Token => {
                    out.extend_from_slice(self.tokens.get(customer).map_or(&[][..], Vec::as_slice));
                }
            }
        }
        kind
    }

    /// The `{n}` after the last.
    pub fn next(&self) -> u64 {
        self.next
    }
}

/// The kinds in turn, each as often as it weighs, spread over the round.
fn order(kinds: &[Kind]) -> Vec<usize> {
    let all: usize = kinds.iter().map(|kind| kind.weight).sum();
    let mut due: Vec<(usize, usize)> = Vec::with_capacity(all);
    for (kind, one) in kinds.iter().enumerate() {
        for turn in 0..one.weight {
            let at = turn.saturating_mul(all).checked_div(one.weight).unwrap_or(0);
            due.push((at, kind));
        }
    }
    due.sort_unstable();
    due.into_iter().map(|(_, kind)| kind).collect()
}

fn pieces(request: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut rest = request;
    while let Some((text, name, after)) = hole(rest) {
        found.push(Piece::Text(text.as_bytes().to_vec()));
        found.push(name);
        rest = after;
    }
    found.push(Piece::Text(rest.as_bytes().to_vec()));
    found
}

fn hole(text: &str) -> Option<(&str, Piece, &str)> {
    let found = ["{n}", "{c}", "{t}"]
        .into_iter()
        .filter_map(|hole| text.split_once(hole).map(|cut| (hole, cut)));
    let (hole, (before, after)) = found.min_by_key(|(_, (before, _))| before.len())?;
    let piece = match hole {
        "{n}" => Piece::Number,
        "{c}" => Piece::Customer,
        _ => Piece::Token,
    };
    Some((before, piece, after))
}

/// A number of always the same length, so that a body's length is known.
fn digits<const WIDTH: usize>(mut n: u64, out: &mut Vec<u8>) {
    let mut text = [b'0'; WIDTH];
    for digit in text.iter_mut().rev() {
        *digit = b'0'.saturating_add(u8::try_from(n % 10).unwrap_or(0));
        n /= 10;
    }
    out.extend_from_slice(&text);
}
