//! What a fragment in a document stands in: a small configuration that holds, a small pack, and
//! every file and secret that they name.

use std::path::{Path, PathBuf};

use tollhouse::catalog::pack as packs;
use tollhouse::config;

use crate::support::authority::Authority;
use crate::support::{root, tollhouse};

/// A configuration of which a part may be replaced, key by key.
pub const BASE: &str = "\
version: 1
listen: 127.0.0.1:8700
operator: { listen: 127.0.0.1:8701, tokens: [ { name: on-call, roles: [operator], token: file:ops-token } ] }
store: embedded:store
audit: { dir: audit }
development: true
identity: { issuers: [ { issuer: tollhouse-dev, audience: tollhouse, jwks: file:jwks.json, algorithms: [EdDSA] } ] }
upstreams:
  stripe: { url: https://api.stripe.com, pack: stripe, route: /, credentials: file:stripe-key }
  shop: { url: http://127.0.0.1:9000, pack: orders, route: /shop, credentials: file:shop-key }
queues:
  finance: { roles: [finance] }
  finance-lead: { roles: [finance-lead] }
  support: {}
";

/// A pack of which a part may be replaced.
pub const PACK: &str = "\
pack: desk
version: 1
auth: bearer
body: json
facts:
  order: { get: '/orders/{order}', id: { order: '[A-Za-z0-9_-]{1,64}', at: /id }, fields: { customer: /customer } }
actions:
  desk.order.retrieve: { match: 'GET /orders/{order}', class: read, facts: [ { order: { order: path.order } } ], owner: facts.order.customer }
";

/// What stands in a secret, by a part of its name; else anything that is long enough and of that
/// secret alone.
const SECRETS: &[(&str, &str)] = &[
    ("seal", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ("hook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("url", "https://hooks.chat.example/T0/secret"),
];

/// The top keys of a mapping, each with all that belongs to it.
fn keys(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let begins = line.starts_with(|c: char| c.is_ascii_alphabetic());
        match (begins, found.last_mut()) {
            (true, _) | (false, None) => {
                let key = line.split(':').next().unwrap_or_default();
                found.push((key.to_owned(), format!("{line}\n")));
            }
            (false, Some((_, whole))) => {
                whole.push_str(line);
                whole.push('\n');
            }
        }
    }
    found
}

/// `base` with the top keys of `part` in the place of its own.
pub fn in_place(base: &str, part: &str) -> String {
    let part = keys(part);
    let kept = keys(base).into_iter().filter(|(key, _)| part.iter().all(|(other, _)| key != other));
    kept.map(|(_, whole)| whole).chain(part.iter().map(|(_, whole)| whole.clone())).collect()
}

/// What is wrong with a pack.
pub fn pack(text: &str) -> Result<(), String> {
    let name = keys(text)
        .iter()
        .find_map(|(key, whole)| (key == "pack").then(|| whole["pack:".len()..].trim().to_owned()));
    let read = packs::read(&format!("{}.yaml", name.unwrap_or_default()), text);
    let said = read.map_err(|e| e.to_string())?.lint();
    if said.is_empty() { Ok(()) } else { Err(said.join("\n")) }
}

/// A folder for one document.
pub struct Ground {
    home: tempfile::TempDir,
}

impl Ground {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let words = ["token", "--agent", "a", "--state"];
        let made = tollhouse().args(words).arg(home.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self { home }
    }

    /// A file that the document has.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).unwrap();
    }

    /// What is wrong with a configuration, as `check` says it.
    pub fn config(&self, text: &str) -> Result<(), String> {
        let file = self.home.path().join("checked.yaml");
        std::fs::write(&file, self.with_files(text)).unwrap();
        let config = config::load(&file).map_err(|e| e.to_string())?;
        config::check(config).map(drop).map_err(|e| e.to_string())
    }

    /// What is wrong with a policy beside the shipped ones.
    pub fn policy(&self, text: &str) -> Result<(), String> {
        self.write("policy.cedar", text);
        self.config(&format!("{BASE}policies: {{ files: [policy.cedar] }}\n"))
    }

    /// What is wrong with goldens of the orders pack.
    pub fn golden(&self, text: &str) -> Result<(), String> {
        self.write("golden.yaml", text);
        let found = crate::packs::faults_of("orders", &self.home.path().join("golden.yaml"));
        if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
    }

    /// The same with every file that it names made, in this folder.
    fn with_files(&self, text: &str) -> String {
        let text = text.replace("env:", "file:from-environment/");
        let mut whole = String::new();
        for line in text.lines() {
            // Comments name files that nobody reads.
            let code = line.split(" #").next().unwrap_or_default();
            let mut line = code.to_owned();
            for name in names(code) {
                let path = self.made(&name);
                let there = path.display().to_string();
                line = line.replace(&format!(" {name}"), &format!(" {there}"));
                line = line.replace(&format!("file:{name}"), &format!("file:{there}"));
            }
            whole.push_str(&line);
            whole.push('\n');
        }
        whole
    }

    /// A file of that name with what is likely to be read there.
    fn made(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name.trim_start_matches('/'));
        if path.exists() {
            return path;
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        let text = self.likely(file, name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn likely(&self, file: &str, name: &str) -> String {
        if file.ends_with(".json") {
            return std::fs::read_to_string(self.home.path().join("jwks.json")).unwrap();
        }
        if file.ends_with(".yaml") {
            return std::fs::read_to_string(root().join("config/packs").join(file)).unwrap();
        }
        // The record's key.
        if file.contains("audit") {
            return rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        }
        if [".crt", ".pem", ".key"].iter().any(|end| file.ends_with(end)) {
            let (certificate, key) = Authority::new().certificate();
            return if file.ends_with(".key") { key } else { certificate };
        }
        let known = SECRETS.iter().find(|(part, _)| file.contains(part));
        known.map_or_else(|| format!("a-secret-of-{name}-alone"), |(_, text)| (*text).to_owned())
    }
}

/// The files that a line names: what follows `file:`, and paths of certificates and packs.
fn names(code: &str) -> Vec<String> {
    let ends = |c: char| " ,}]\"'".contains(c);
    let after = |mark: &str| -> Vec<String> {
        let found = code.split(mark).skip(1).filter_map(|rest| rest.split(ends).next());
        found.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let mut found = after("file:");
    for key in ["certificate: ", "clients: ", "ca: ", "pack: "] {
        let is_file =
            |name: &String| Path::new(name).extension().is_some() && !name.starts_with("file:");
        found.extend(after(key).into_iter().filter(is_file));
    }
    found
}
