//! Sends requests over kept connections: when each is due, or as fast as answers come.
//!
//! At a rate, a request is due at its time whether or not the answers before it came, and its latency counts
//! from then: a server that stalls pays for every request it kept waiting (coordinated omission). What the
//! generator itself was late is counted apart.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::time::Timespec;
use serde_json::json;

use super::plan::{Job, Plan};
use super::tally::{self, Tally};
use super::wire::{self, Body, Head};

/// BOUND: what is not answered by then never will be, or is of a rate that the server cannot keep.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection and the request on it.
struct Lane {
    stream: TcpStream,
    head: Option<Head>,
    /// What was read of a head, or of a body in chunks.
    bytes: Vec<u8>,
    read: usize,
    status: u16,
    kind: usize,
    due: Instant,
    /// Since when nothing is on it.
    free: Instant,
    busy: bool,
}

struct Generator {
    to: String,
    poll: OwnedFd,
    lanes: Vec<Lane>,
    idle: VecDeque<usize>,
    plan: Plan,
    tallies: Vec<Tally>,
    late: Histogram<u64>,
    counted: Span,
    sent: u64,
    broken: u64,
    out: Vec<u8>,
    scratch: Vec<u8>,
}

/// What is counted.
struct Span {
    from: Instant,
    until: Instant,
    answered: u64,
}

/// When the next request is due.
struct Schedule {
    start: Instant,
    /// Nanoseconds between two; as soon as a connection is free when `None`.
    every: Option<f64>,
    next: u64,
    last: u64,
}

impl Schedule {
    #[expect(
        clippy::arithmetic_side_effects,
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place on a time axis"
    )]
    fn due(&self, now: Instant) -> Option<Instant> {
        if self.next >= self.last {
            return None;
        }
        let Some(every) = self.every else { return Some(now) };
        Some(self.start + Duration::from_nanos((self.next as f64 * every) as u64))
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures")]
fn now() -> Instant {
    Instant::now()
}

pub fn run(path: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let job: Job = serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
    // The kernel's usual slack of 50 us is what would be measured otherwise.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).map_err(|e| e.to_string())?;
    let mut generator = Generator::new(&job)?;
    let told = generator.go(&job)?;
    println!("{told}");
    Ok(())
}

impl Generator {
    fn new(job: &Job) -> Result<Self, String> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| e.to_string())?;
        let begin = now();
        let mut new = Self {
            to: job.to.clone(),
            poll,
            lanes: Vec::with_capacity(job.connections),
            idle: (0..job.connections).collect(),
            plan: Plan::new(job)?,
            tallies: job.plan.iter().map(Tally::of).collect::<Result<_, _>>()?,
            late: tally::spans()?,
            counted: Span { from: begin, until: begin, answered: 0 },
            sent: 0,
            broken: 0,
            out: Vec::with_capacity(2048),
            scratch: vec![0; 64 * 1024],
        };
        for at in 0..job.connections {
            let stream = new.connect(at)?;
            let (bytes, due, free) = (Vec::new(), begin, begin);
            new.lanes.push(Lane {
                stream,
                head: None,
                bytes,
                read: 0,
                status: 0,
                kind: 0,
                due,
                free,
                busy: false,
            });
        }
        Ok(new)
    }

    fn connect(&self, at: usize) -> Result<TcpStream, String> {
        let told = |e: std::io::Error| format!("{}: {e}", self.to);
        let stream = TcpStream::connect(&self.to).map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        stream.set_nonblocking(true).map_err(told)?;
        let name = epoll::EventData::new_u64(u64::try_from(at).map_err(|e| e.to_string())?);
        epoll::add(&self.poll, &stream, name, epoll::EventFlags::IN).map_err(|e| e.to_string())?;
        Ok(stream)
    }

    #[expect(clippy::arithmetic_side_effects, reason = "times of a run of minutes")]
    fn go(&mut self, job: &Job) -> Result<serde_json::Value, String> {
        let start = now();
        self.counted.from = start + Duration::from_secs_f64(job.warm);
        self.counted.until = self.counted.from + Duration::from_secs_f64(job.seconds);
        let most = if job.at_most == 0 { u64::MAX } else { job.at_most };
        let mut schedule = Schedule { start, every: None, next: 0, last: most };
        if job.rate > 0.0 {
            // All that is due before the end is sent, however late.
            let all = Duration::from_secs_f64((job.warm + job.seconds) * job.rate).as_secs();
            (schedule.every, schedule.last) = (Some(1e9 / job.rate), most.min(all));
        }
        let mut events = Vec::with_capacity(1024);
        let begun = cpu();
        loop {
            let at = now();
            if at >= self.counted.until && schedule.every.is_none() {
                schedule.last = schedule.next;
            }
            let wait = self.send_due(&mut schedule, at)?;
            if schedule.next >= schedule.last && self.idle.len() == self.lanes.len() {
                break;
            }
            if at >= self.counted.until + PATIENCE {
                break;
            }
            self.hear(&mut events, wait)?;
        }
        let busy = cpu().saturating_sub(begun);
        Ok(self.told(&schedule, start, busy))
    }

    /// Sends what is due; how long until the next is.
    fn send_due(&mut self, schedule: &mut Schedule, mut at: Instant) -> Result<Duration, String> {
        let mut waited = false;
        while let Some(due) = schedule.due(at) {
            if due > at {
                return Ok(due.saturating_duration_since(at));
            }
            let Some(lane) = self.idle.pop_front() else {
                // Nobody is free: the server is late, not we.
                waited = true;
                break;
            };
            schedule.next = schedule.next.saturating_add(1);
            if schedule.every.is_some() && due >= self.counted.from {
                // What it waited for a free connection is the server's.
                let could = self.lanes.get(lane).map_or(due, |lane| lane.free.max(due));
                tally::note(&mut self.late, at.saturating_duration_since(could));
            }
            self.send(lane, due)?;
            if schedule.every.is_some() {
                at = now();
            }
        }
        Ok(if waited { PATIENCE } else { Duration::from_millis(100) })
    }

    fn send(&mut self, at: usize, due: Instant) -> Result<(), String> {
        let kind = self.plan.write(&mut self.out);
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
        (lane.kind, lane.due, lane.busy, lane.head, lane.read) = (kind, due, true, None, 0);
        lane.bytes.clear();
        self.sent = self.sent.saturating_add(1);
        let mut rest = self.out.as_slice();
        while !rest.is_empty() {
            match lane.stream.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => return self.broke(at),
            }
        }
        Ok(())
    }

    /// A connection that ended with a request on it; another takes its place.
    fn broke(&mut self, at: usize) -> Result<(), String> {
        let stream = self.connect(at)?;
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.stream = stream;
            if lane.busy {
                lane.busy = false;
                self.broken = self.broken.saturating_add(1);
                self.idle.push_back(at);
            }
        }
        Ok(())
    }

    fn hear(&mut self, events: &mut Vec<epoll::Event>, wait: Duration) -> Result<(), String> {
        events.clear();
        let span = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(0),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(events), Some(&span)) {
            Err(e) if e == rustix::io::Errno::INTR => return Ok(()),
            other => other.map_err(|e| e.to_string())?,
        };
        for event in events.iter() {
            let at = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            match lane.turn(&mut self.scratch) {
                Turn::More => {}
                Turn::Broke => self.broke(at)?,
                Turn::Whole => {
                    let (kind, status, due, at_end) = (lane.kind, lane.status, lane.due, now());
                    (lane.busy, lane.free) = (false, at_end);
                    self.idle.push_back(at);
                    if due >= self.counted.from
                        && let Some(tally) = self.tallies.get_mut(kind)
                    {
                        tally.add(status, at_end.saturating_duration_since(due));
                        if at_end <= self.counted.until {
                            self.counted.answered = self.counted.answered.saturating_add(1);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn told(&self, schedule: &Schedule, start: Instant, busy: Duration) -> serde_json::Value {
        let mut all = self.late.clone();
        all.reset();
        self.tallies.iter().for_each(|tally| tally.join(&mut all));
        let kinds: Vec<_> = self.tallies.iter().map(Tally::shown).collect();
        let wrong: u64 = self.tallies.iter().map(Tally::wrong).sum();
        let unanswered = self.lanes.iter().filter(|lane| lane.busy).count();
        let unsent =
            if schedule.last == u64::MAX { 0 } else { schedule.last.saturating_sub(schedule.next) };
        let seconds = self.counted.until.saturating_duration_since(self.counted.from).as_secs_f64();
        json!({
            "next": self.plan.next(), "sent": self.sent, "answered": all.len(), "in_time": self.counted.answered,
            "seconds": seconds, "wrong": wrong, "broken": self.broken, "unanswered": unanswered, "unsent": unsent,
            "us": tally::shown(&all), "late_us": tally::shown(&self.late), "kinds": kinds,
            "generator_cpu": busy.as_secs_f64(), "elapsed": start.elapsed().as_secs_f64(),
        })
    }
}

enum Turn {
    More,
    Whole,
    Broke,
}

impl Lane {
    /// Reads what is there of the answer.
    fn turn(&mut self, scratch: &mut [u8]) -> Turn {
        let read = match self.stream.read(scratch) {
            Ok(0) => return Turn::Broke,
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Turn::More,
            Err(_) => return Turn::Broke,
        };
        if !self.busy {
            // Nothing was asked: whatever it is, it is no answer.
            return Turn::Broke;
        }
        self.read = self.read.saturating_add(read);
        if let Some(Head { length, body: Body::Bytes(body) }) = self.head {
            return if self.read >= length.saturating_add(body) { Turn::Whole } else { Turn::More };
        }
        self.bytes.extend_from_slice(scratch.get(..read).unwrap_or_default());
        if self.head.is_none() {
            self.head = wire::head(&self.bytes);
            self.status = wire::status(&self.bytes).unwrap_or(0);
        }
        match self.head {
            Some(Head { length, body: Body::Bytes(body) })
                if self.read >= length.saturating_add(body) =>
            {
                Turn::Whole
            }
            Some(head) if wire::whole(&self.bytes, &head).is_some() => Turn::Whole,
            Some(_) | None => Turn::More,
        }
    }
}

/// CPU time of this process.
fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap_or(0),
        u32::try_from(spent.tv_nsec).unwrap_or(0),
    )
}
