//! What does this Redis forget, and when? Read from its own settings, told in plain words.
//!
//! Never guesses that it is safe: what cannot be read is a risk.

use std::collections::BTreeMap;

use redis::cmd;

use super::open;
use super::{Inside, Redis};
use crate::refusal::Fault;
use crate::store::damaged;

/// How safe the rows are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durability {
    /// The settings that were read, in one line.
    pub settings: String,
    /// What may be forgotten, each with the setting that ends it. None of it: money is safe.
    pub dangers: Vec<String>,
    /// What is worth knowing and no danger by itself.
    pub notes: Vec<String>,
}

impl Durability {
    /// Whether nothing that was acknowledged may be forgotten by a restart, by a lack of memory or by a
    /// failover.
    pub fn is_safe(&self) -> bool {
        self.dangers.is_empty()
    }
}

/// The settings that are judged.
const READ: &[&str] =
    &["appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "min-replicas-to-write"];

/// Judges settings, as `CONFIG GET` names them, beside how many replicas there are.
fn judge(settings: &BTreeMap<String, String>, replicas: u64) -> Durability {
    let read = |name: &str| settings.get(name).map(String::as_str);
    let shown = READ.iter().filter_map(|name| Some(format!("{name} {}", read(name)?)));
    let shown: Vec<String> = shown.chain([format!("replicas {replicas}")]).collect();
    let mut found = Durability { settings: shown.join(", "), ..Durability::default() };
    match read("appendonly") {
        Some("yes") => {}
        Some(_) => found.dangers.push(
            "a restart forgets every operation since the last snapshot, and what was done may be \
             done again: set `appendonly yes`"
                .to_owned(),
        ),
        None => found.dangers.push(
            "whether a restart forgets cannot be read: allow `CONFIG GET`, \
             or see that `appendonly` is `yes`"
                .to_owned(),
        ),
    }
    match read("appendfsync") {
        Some("always") => {}
        Some("everysec") => found.notes.push(
            "a power cut forgets up to two seconds of operations: `appendfsync always` forgets \
             none, at some 2 ms each"
                .to_owned(),
        ),
        Some(_) | None => found.dangers.push(
            "a power cut forgets what the system had not written yet, often 30 seconds: set \
             `appendfsync always`, or `everysec`"
                .to_owned(),
        ),
    }
    let bounded = read("maxmemory").is_some_and(|bytes| bytes != "0");
    match read("maxmemory-policy") {
        Some("noeviction") => {}
        Some(policy) if bounded => found.dangers.push(format!(
            "short of memory it drops operations and budgets (`{policy}`): set `maxmemory-policy \
             noeviction`"
        )),
        Some(_) => found.notes.push(
            "with a `maxmemory` it would drop operations: set `maxmemory-policy noeviction`"
                .to_owned(),
        ),
        None => found.dangers.push(
            "whether it drops operations when it is short of memory cannot \
             be read: see that `maxmemory-policy` is `noeviction`"
                .to_owned(),
        ),
    }
    let waits = read("min-replicas-to-write").is_some_and(|least| least != "0");
    match (replicas, waits) {
        (0, false) => found
            .notes
            .push("there is one copy: when its disk is gone, so are the operations".to_owned()),
        (_, true) => {}
        (_, false) => found.dangers.push(
            "a failover may forget what no replica had yet: set `min-replicas-to-write 1`"
                .to_owned(),
        ),
    }
    found
}

impl Redis {
    /// Reads and judges it; the judgement is kept.
    pub async fn durability(&self) -> Result<Durability, Fault> {
        self.inside.durability().await
    }

    /// The last judgement; `None` before the first.
    pub fn judged(&self) -> Option<Durability> {
        self.inside.judged.lock().clone()
    }
}

impl Inside {
    pub(super) async fn durability(&self) -> Result<Durability, Fault> {
        let mut settings = BTreeMap::new();
        for name in READ {
            let mut get = cmd("CONFIG");
            get.arg("GET").arg(name);
            // Who may not read settings has a judgement, too; a managed Redis often hides them.
            match self.line.ask_any(&get).await? {
                Ok(value) => {
                    let pair = open::parts(value).ok_or_else(damaged)?;
                    if let [_, value] = pair.as_slice() {
                        let value = String::from_utf8_lossy(value).into_owned();
                        settings.insert((*name).to_owned(), value);
                    }
                }
                Err(_) => continue,
            }
        }
        let mut info = cmd("INFO");
        info.arg("replication");
        let replicas = match self.line.ask_any(&info).await? {
            Ok(value) => {
                let text = open::bytes(value).ok_or_else(damaged)?;
                let text = String::from_utf8_lossy(&text).into_owned();
                let count = text.lines().find_map(|line| line.strip_prefix("connected_slaves:"));
                count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
            }
            Err(_) => 0,
        };
        let judged = judge(&settings, replicas);
        *self.judged.lock() = Some(judged.clone());
        Ok(judged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(settings: &[(&str, &str)], replicas: u64) -> Durability {
        let all = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        judge(&all.collect(), replicas)
    }

    const SAFE: [(&str, &str); 5] = [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory", "100"),
        ("maxmemory-policy", "noeviction"),
        ("min-replicas-to-write", "1"),
    ];

    #[test]
    fn what_forgets_nothing_is_safe() {
        assert_eq!(judged(&SAFE, 1).notes, Vec::<String>::new());
        assert!(judged(&SAFE, 1).is_safe());
    }

    #[test]
    fn each_setting_alone_is_told_with_its_remedy() {
        for (at, value, replicas, said, is_safe) in [
            (0, "no", 1, "`appendonly yes`", false),
            (1, "everysec", 1, "`appendfsync always`", true),
            (1, "no", 1, "often 30 seconds", false),
            (3, "allkeys-lru", 1, "`maxmemory-policy noeviction`", false),
            (4, "0", 1, "`min-replicas-to-write 1`", false),
            (4, "0", 0, "one copy", true),
        ] {
            let mut settings = SAFE;
            if let Some(setting) = settings.get_mut(at) {
                setting.1 = value;
            }
            let found = judged(&settings, replicas);
            let words = [found.dangers.clone(), found.notes.clone()].concat();
            assert!(words.iter().any(|line| line.contains(said)), "{said}: {words:?}");
            assert_eq!((found.is_safe(), words.len()), (is_safe, 1), "{words:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_danger() {
        assert_eq!(judged(&[], 0).dangers.len(), 3);
    }
}
