//! Holds `src/` to the map in ARCHITECTURE.md: who may use whom, which crate has one door, and how
//! long a file may grow. The judging is a pure function of (file, text), so that it is itself tested
//! on text that breaks each rule.

use std::fs;
use std::path::{Path, PathBuf};

/// A module may use lower floors and its own children, never a neighbour. Words may use words.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["action", "bounds", "call", "clock", "contract", "decision", "framing"]),
    (0, &["money", "refusal", "value", "yaml"]),
    (1, &["credentials", "outbound", "redact", "resolve", "store", "telemetry", "wire"]),
    (2, &["alarm"]),
    (2, &["approval", "audit", "breaker", "catalog", "disclosure", "facts", "freeze", "identity"]),
    (2, &["limits", "notify", "operation", "policy"]),
    (3, &["gate"]),
    (4, &["config", "console", "proxy"]),
    (5, &["cli", "lib", "main"]),
];

/// Each foreign crate enters through these files, so that it can be replaced there.
const DOORS: &[(&str, &[&str])] = &[
    ("pingora", &["outbound"]),
    ("h2", &["proxy/http2", "outbound/http2"]),
    ("tokio_rustls", &["proxy", "outbound/client"]),
    ("axum", &["console"]),
    ("tower", &["console"]),
    ("x509_parser", &["proxy"]),
    ("cedar_policy", &["policy"]),
    ("redb", &["store/embedded"]),
    ("redis", &["store/redis"]),
    ("governor", &["limits"]),
    ("jsonwebtoken", &["identity"]),
    ("prometheus", &["telemetry"]),
    ("clap", &["cli", "main"]),
    ("anyhow", &["cli", "main"]),
    ("saphyr_parser", &["yaml"]),
];

/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 500;

#[test]
fn every_file_keeps_to_its_floor_its_doors_and_its_length() {
    let sources = sources();
    assert!(sources.len() > 30, "the walk found {} files only", sources.len());
    let faults: Vec<String> = sources.iter().flat_map(|(name, text)| faults(name, text)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn each_rule_can_fail() {
    let long = "//\n".repeat(FILE_LINES_MAX) + "fn a() {}\n";
    for (name, text, rule) in [
        ("wire", "use crate::policy::Policy;", "wire (1) uses policy (2)"),
        ("facts", "fn f() { crate::policy::decide() }", "facts (2) uses policy (2)"),
        ("facts", "use crate::{clock::Clock, policy::Policy};", "facts (2) uses policy (2)"),
        ("money", "use crate::wire::Head;", "money (0) uses wire (1)"),
        ("facts", "use pingora::prelude::*;", "facts uses pingora"),
        ("store/memory", "use redb::Database;", "store/memory uses redb"),
        ("store", "use redis::Client;", "store uses redis"),
        ("stray", "", "stray has no floor"),
        ("gate", &long, "gate has 501 lines"),
    ] {
        let found = faults(name, text);
        assert!(found.iter().any(|f| f.contains(rule)), "{name}: `{rule}` not in {found:?}");
    }
    for (name, text) in [
        ("facts", "use crate::{call::Call, wire};\nuse crate::facts::x;"),
        ("facts", "// crate::policy\n"),
        ("store", "pub mod redis;\nuse self::redis::Redis;"),
        ("facts", "fn a() {}\n#[cfg(test)]\nmod tests { use crate::policy; }"),
    ] {
        assert_eq!(faults(name, text), Vec::<String>::new(), "{name}");
    }
}

fn faults(name: &str, text: &str) -> Vec<String> {
    let code = product(text);
    let module = name.split('/').next().unwrap();
    let Some(own) = floor(module) else { return vec![format!("{module} has no floor")] };
    let mut faults = Vec::new();
    for used in uses_of_crate(&code) {
        match floor(&used) {
            None => faults.push(format!("{name}: {module} uses {used}, which has no floor")),
            Some(other) if used == module || other < own || (own, other) == (0, 0) => {}
            Some(other) => faults.push(format!("{name}: {module} ({own}) uses {used} ({other})")),
        }
    }
    for (krate, doors) in DOORS {
        let inside = doors.iter().any(|d| name == *d || name.starts_with(&format!("{d}/")));
        if !inside && mentions(&code, krate) {
            faults.push(format!("{name} uses {krate}; only {doors:?} may"));
        }
    }
    let lines = text.split("\n#[cfg(test)]\nmod ").next().unwrap().lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(format!("{name} has {lines} lines before its tests"));
    }
    faults
}

/// Whether `krate::` or `use krate` stands in the code as a whole word (`pingora_core` counts as
/// `pingora`).
fn mentions(code: &str, krate: &str) -> bool {
    code.match_indices(krate).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + krate.len()..];
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let whole = after.trim_start_matches(word).starts_with("::") || after.starts_with(';');
        let family = after.starts_with("::") || after.starts_with('_') || after.starts_with(';');
        // A module of our own may have the crate's name.
        let own = code[..at].ends_with("mod ");
        !own && !before.is_some_and(|c| word(c) || c == ':' || c == '"' || c == '.')
            && whole
            && family
    })
}

fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let name = |path: &Path| {
        let inside = path.strip_prefix(&root).unwrap().with_extension("");
        inside.to_str().unwrap().replace('\\', "/")
    };
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, names)| names.contains(&module)).map(|(floor, _)| *floor)
}

/// A file without its comments and without its tests.
fn product(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules named after `crate::`, wherever they stand; `crate::{a::B, c}` names two.
fn uses_of_crate(code: &str) -> Vec<String> {
    let word = |rest: &str| {
        rest.trim_start()
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .map(str::to_owned)
            .filter(|w| !w.is_empty())
    };
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.extend(word(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.extend(word(&std::mem::take(&mut item))),
                _ if depth == 0 => item.push(c),
                _ => {}
            }
        }
        found.extend(word(&item));
    }
    found
}
