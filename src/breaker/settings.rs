//! When does a breaker open, and for how long?

use std::time::Duration;

use crate::yaml::{Faults, Node};

/// BOUND: what is remembered of a road is as many bits as one word has.
const OF_LAST_MAX: u64 = 128;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The share of failed and slow calls among the last ones that opens it, in per mille.
    pub failures: u16,
    /// So many of the last calls are looked at.
    pub of_last: u32,
    /// An answer that took longer counts as a failure of the share.
    pub slow: Duration,
    /// Failures in a row that open it.
    pub consecutive: u32,
    /// How long it stays open before a probe.
    pub open: Duration,
    /// Reads that must get through, one after the other or at once, before it closes.
    pub probes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // BOUND: of ten calls that were well one may fail by chance, not every other.
            failures: 500,
            of_last: 20,
            // BOUND: agents and their libraries give up after some tens of seconds.
            slow: Duration::from_secs(10),
            // BOUND: one bad answer is noise, five in a row are not; half a minute is a restart.
            consecutive: 5,
            open: Duration::from_secs(30),
            // BOUND: one that got through may be luck where half of them do: three rarely are.
            probes: 3,
        }
    }
}

impl Settings {
    /// Reads `{ failures: 50%, of_last: 20, slow: 10s, open: 30s, consecutive: 5, probes: 3 }`.
    pub fn read(faults: &Faults, node: &Node, key: &str) -> Self {
        let usual = Self::default();
        let section = faults.section(node, key);
        let count = |key: &str, most: u64| {
            section.optional(key, |node| {
                let expected = || format!("expected 1 to {most}");
                let count = node.count()?;
                let count = (1..=most).contains(&count).then_some(count);
                count.and_then(|count| u32::try_from(count).ok()).ok_or_else(expected)
            })
        };
        let span = |key: &str, most: Duration, expected: &'static str| {
            section.optional(key, |node| {
                let span = node.duration()?;
                let range = Duration::from_millis(1)..=most;
                range.contains(&span).then_some(span).ok_or(expected.to_owned())
            })
        };
        let failures = section.optional("failures", |node| {
            let share = node.per_mille()?;
            (share > 0).then_some(share).ok_or("expected a share above 0%".to_owned())
        });
        let of_last = count("of_last", OF_LAST_MAX);
        let slow = span("slow", Duration::from_secs(600), "expected `1ms` to `10m`");
        // BOUND: past 1000 failures in a row nothing is protected any more.
        let consecutive = count("consecutive", 1_000);
        let open = section.optional("open", |node| {
            let open = node.duration()?;
            let range = Duration::from_secs(1)..=Duration::from_secs(3600);
            range.contains(&open).then_some(open).ok_or("expected `1s` to `1h`".to_owned())
        });
        let probes = count("probes", 20);
        section.finish();
        Self {
            failures: failures.unwrap_or(usual.failures),
            of_last: of_last.unwrap_or(usual.of_last),
            slow: slow.unwrap_or(usual.slow),
            consecutive: consecutive.unwrap_or(usual.consecutive),
            open: open.unwrap_or(usual.open),
            probes: probes.unwrap_or(usual.probes),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::yaml;

    #[test]
    fn settings_are_read_and_a_fault_says_where() {
        let read = |text: &str| {
            let node = yaml::read("x.yaml", text).unwrap();
            let faults = Faults::of("x.yaml");
            let settings = Settings::read(&faults, &node, "breaker");
            (settings, faults.into_errors().to_string())
        };
        let all =
            "{ failures: 40%, of_last: 50, slow: 250ms, open: 10s, consecutive: 7, probes: 2 }";
        let (settings, faults) = read(all);
        assert!(faults.is_empty(), "{faults}");
        let expected = Settings {
            failures: 400,
            of_last: 50,
            slow: Duration::from_millis(250),
            consecutive: 7,
            open: Duration::from_secs(10),
            probes: 2,
        };
        assert_eq!(settings, expected);
        assert_eq!(read("{}"), (Settings::default(), String::new()));
        for (text, expected) in [
            ("{ failures: 0% }", "expected a share above 0%"),
            ("{ failures: much }", "expected a share such as"),
            ("{ of_last: 129 }", "expected 1 to 128"),
            ("{ of_last: 0 }", "expected 1 to 128"),
            ("{ slow: 0s }", "expected `1ms` to `10m`"),
            ("{ consecutive: 0 }", "expected 1 to 1000"),
            ("{ open: 0s }", "expected `1s` to `1h`"),
            ("{ probes: 21 }", "expected 1 to 20"),
            ("{ opne: 10s }", "opne"),
        ] {
            let faults = read(text).1;
            assert!(faults.starts_with("x.yaml:1:") && faults.contains(expected), "{faults}");
        }
    }
}
