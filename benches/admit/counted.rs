//! Clock and allocations at one moment, of the thread that asks.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::time::Instant;

use serde_json::{Value, json};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// mimalloc, as in the product, with what each thread asks of it counted.
pub struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe; it hands everything on as it came")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { mimalloc::MiMalloc.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { mimalloc::MiMalloc.realloc(at, layout, size) }
    }
}

fn count(size: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get().wrapping_add(1));
    BYTES.set(BYTES.get().wrapping_add(u64::try_from(size).unwrap_or(0)));
}

/// A moment.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    at: Instant,
    allocations: u64,
    bytes: u64,
}

impl Mark {
    #[expect(clippy::disallowed_methods, reason = "this measures")]
    pub fn now() -> Self {
        Self { at: Instant::now(), allocations: ALLOCATIONS.get(), bytes: BYTES.get() }
    }
}

/// Many spans between two moments.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    nanos: Vec<u64>,
    allocations: u64,
    bytes: u64,
}

impl Spans {
    pub fn add(&mut self, from: Mark, to: Mark) {
        let span = to.at.saturating_duration_since(from.at);
        self.nanos.push(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        self.allocations =
            self.allocations.saturating_add(to.allocations.wrapping_sub(from.allocations));
        self.bytes = self.bytes.saturating_add(to.bytes.wrapping_sub(from.bytes));
    }

    /// Median and the upper tenth in microseconds, allocations of each.
    pub fn shown(mut self, name: &str) -> Value {
        self.nanos.sort_unstable();
        let count = u64::try_from(self.nanos.len()).unwrap_or(1).max(1);
        let at = |tenths: usize| {
            let place = self.nanos.len().saturating_mul(tenths) / 10;
            micros(self.nanos.get(place).copied().unwrap_or(0))
        };
        json!({
            "name": name, "us": at(5), "us_p90": at(9),
            "allocations": self.allocations.checked_div(count), "bytes": self.bytes.checked_div(count),
        })
    }
}

pub fn micros(nanos: u64) -> f64 {
    f64::from(u32::try_from(nanos).unwrap_or(u32::MAX)) / 1000.0
}

/// What two moments after each other are apart: it is in every span once.
pub fn overhead_ns() -> u64 {
    let mut spans = Spans::default();
    for _ in 0..1001 {
        let from = Mark::now();
        spans.add(from, Mark::now());
    }
    spans.nanos.sort_unstable();
    spans.nanos.get(500).copied().unwrap_or(0)
}
