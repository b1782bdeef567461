//! A real Tollhouse before a [`Shop`], in quick mode or from a configuration, and an agent of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::agent::{Call, Reply};
use super::set_clock::SetClock;
use super::shop::Shop;
use super::{Process, tollhouse};

/// What most tests let an agent do.
pub const CONTRACTS: &str = "\
contracts:
  orders.refund.create:
    team: payments
    cap: { auto: 100.00 USD, hard: 1000.00 USD }
    approval: { queue: finance, expires: 1h }
    duplicates: { alike: allow }
";

/// The secret that only Tollhouse knows.
pub const SECRET: &str = "shop-secret-no-agent-sees";

/// A running Tollhouse and where it keeps its things.
pub struct House {
    pub home: TempDir,
    pub agents: String,
    pub process: Process,
    how: How,
    /// What runs the binary: a shell may set limits first.
    before: String,
    token: String,
}

#[derive(Clone)]
enum How {
    Quick {
        upstream: String,
    },
    Config,
    /// A configuration, before a fleet's store that is new.
    First,
}

impl House {
    /// Quick mode before `shop`.
    pub fn quick(shop: &Shop) -> Self {
        Self::quick_with(&shop.url(), CONTRACTS)
    }

    /// Quick mode before any upstream, with contracts.
    pub fn quick_with(upstream: &str, contracts: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("contracts.yaml"), contracts).unwrap();
        Self::open(home, How::Quick { upstream: upstream.to_owned() }, "")
    }

    /// From a configuration that names `upstream`, whose `timeout` and further keys are `more`.
    pub fn configured(upstream: &str, more: &str, before: &str) -> Self {
        Self::configured_in(tempfile::tempdir().unwrap(), upstream, more, before)
    }

    /// The same in a folder that is there already.
    pub fn configured_in(home: TempDir, upstream: &str, more: &str, before: &str) -> Self {
        let at = home.path();
        // The development issuer's key and its public set.
        token(&at.join("state"), "ann");
        std::fs::write(at.join("ops-token"), OPS_TOKEN).unwrap();
        std::fs::write(at.join("tollhouse.yaml"), configuration(upstream, more)).unwrap();
        Self::open(home, How::Config, before)
    }

    /// From a configuration as it stands, in a folder with whatever it names.
    pub fn written(home: TempDir, text: &str, before: &str) -> Self {
        let at = home.path();
        token(&at.join("state"), "ann");
        std::fs::write(at.join("ops-token"), OPS_TOKEN).unwrap();
        std::fs::write(at.join("tollhouse.yaml"), text).unwrap();
        Self::open(home, How::Config, before)
    }

    /// A replica of a fleet, with `store` as its store; it knows the same agents as `other`.
    pub fn replica(upstream: &str, store: &str, other: Option<&Self>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let text = configuration(upstream, "").replace("store: embedded:data/store", store);
        Self::replica_in(home, &text, other, "")
    }

    /// The same from a configuration as it stands, in a folder with whatever it names.
    pub fn replica_in(home: TempDir, text: &str, other: Option<&Self>, before: &str) -> Self {
        let state = home.path().join("state");
        if let Some(other) = other {
            std::fs::create_dir(&state).unwrap();
            for file in std::fs::read_dir(other.state()).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), state.join(file.file_name())).unwrap();
            }
        }
        // 32 bytes, the same for every replica.
        let seal = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        std::fs::write(home.path().join("seal.key"), seal).unwrap();
        token(&state, "ann");
        std::fs::write(home.path().join("ops-token"), OPS_TOKEN).unwrap();
        std::fs::write(home.path().join("tollhouse.yaml"), text).unwrap();
        // Whoever is first says that the fleet's store is new.
        let how = if other.is_some() { How::Config } else { How::First };
        Self::open(home, how, before)
    }

    fn open(home: TempDir, how: How, before: &str) -> Self {
        std::fs::write(home.path().join("shop-key"), SECRET).unwrap();
        let (process, agents) = start(home.path(), &how, before);
        let token = token(&home.path().join("state"), "ann");
        Self { home, agents, process, how, before: before.to_owned(), token }
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Where store and audit log are, when it was configured.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The folder of the audit log.
    pub fn audit(&self) -> PathBuf {
        match self.how {
            How::Quick { .. } => self.state().join("audit"),
            How::Config | How::First => self.data().join("audit"),
        }
    }

    /// `kill -9`, and again on the same state.
    pub fn crash(&mut self) {
        self.process.kill();
        self.again();
    }

    /// Starts again on the same state, after it ended.
    pub fn again(&mut self) {
        (self.process, self.agents) = start(self.home.path(), &self.how, &self.before);
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.term();
        self.process.wait().code()
    }

    /// SIGTERM, not waited for.
    pub fn term(&self) {
        let killed = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Ann's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A token of somebody else.
    pub fn token_of(&self, customer: &str) -> String {
        token(&self.state(), customer)
    }

    /// A token of somebody else, that is good from two hours ago until tomorrow, whatever the clock says then.
    pub fn long_token_of(&self, customer: &str) -> String {
        let clock = SetClock::at(&self.home.path().join("token-clock"));
        clock.set(-7_200);
        let words = ["token", "--agent", "support-bot", "--customer", customer, "--ttl", "24h"];
        let mut command = tollhouse();
        command.args(words).arg("--state").arg(self.state()).envs(clock.environment());
        let ran = run(&mut command);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out.trim().to_owned()
    }

    /// Reads as Ann's agent.
    pub fn get(&self, target: &str) -> Reply {
        Call::new("GET", target).bearer(&self.token).send(&self.agents).unwrap()
    }

    /// Refunds as Ann's agent, under a key.
    pub fn refund(&self, order: &str, amount: &str, key: &str) -> Reply {
        refund(order, amount, key).bearer(&self.token).send(&self.agents).unwrap()
    }

    /// The same, said so that another thread may send it.
    pub fn refund_call(&self, order: &str, amount: &str, key: &str) -> Call<'static> {
        refund(order, amount, key).bearer(&self.token)
    }

    /// Runs a command of the CLI that reaches this instance.
    pub fn cli(&self, words: &[&str]) -> Ran {
        let mut command = tollhouse();
        command.args(words);
        match self.how {
            How::Quick { .. } => {
                command.arg("--state").arg(self.state());
            }
            How::Config | How::First => {
                let (url, token) = self.operator();
                command.args(["--operator", &url, "--operator-token", &token]);
            }
        }
        run(&mut command)
    }

    /// A listing of the CLI.
    pub fn listed(&self, words: &[&str]) -> Value {
        let ran = self.cli(&[words, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
    }

    /// The hold of an operation, as `holds show` has it.
    pub fn hold(&self, op: &str) -> Value {
        self.listed(&["holds", "show", op])
    }

    /// Approves what is shown now.
    pub fn approve(&self, op: &str) -> Ran {
        let digest = self.hold(op)["digest"].as_str().unwrap().to_owned();
        self.cli(&["holds", "approve", op, "--yes", "--digest", &digest])
    }

    /// The console's URL and a token for it.
    pub fn operator(&self) -> (String, String) {
        match self.how {
            How::Quick { .. } => {
                let text = std::fs::read_to_string(self.state().join("operator.json")).unwrap();
                let file: Value = serde_json::from_str(&text).unwrap();
                let member = |name: &str| file[name].as_str().unwrap().to_owned();
                (member("url"), member("token"))
            }
            How::Config | How::First => (self.process.said("console"), OPS_TOKEN.to_owned()),
        }
    }

    /// Asks the console.
    pub fn console(&self, call: Call<'_>) -> Reply {
        let (url, token) = self.operator();
        call.bearer(&token).send(&url).unwrap()
    }

    /// Repeats a refund until its answer satisfies.
    pub fn until(&self, call: &Call<'_>, done: impl Fn(&Reply) -> bool) -> Reply {
        let mut last = None;
        for _ in 0..300 {
            let reply = call.send(&self.agents).unwrap();
            if done(&reply) {
                return reply;
            }
            last = Some(reply);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("never so: {last:?}");
    }

    /// `audit verify` on its log.
    pub fn verify(&self) -> Ran {
        run(tollhouse().args(["audit", "verify"]).arg(self.audit()))
    }
}

pub const OPS_TOKEN: &str = "an-operator-token-of-some-length";

/// The configuration of [`House::configured`].
pub fn configuration(upstream: &str, more: &str) -> String {
    format!(
        "\
version: 1
listen: 127.0.0.1:0
operator:
  listen: 127.0.0.1:0
  tokens: [ {{ name: ops, roles: [finance, operator], token: file:ops-token, approves: true }} ]
store: embedded:data/store
audit: {{ dir: data/audit }}
development: true
identity:
  issuers: [ {{ issuer: tollhouse-dev, audience: tollhouse, jwks: file:state/jwks.json, algorithms: [EdDSA] }} ]
upstreams:
  shop: {{ url: \"{upstream}\", pack: orders, route: /, credentials: file:shop-key{more} }}
queues: {{ finance: {{ roles: [finance] }} }}
telemetry: {{ log: text }}
{CONTRACTS}"
    )
}

fn start(home: &Path, how: &How, before: &str) -> (Process, String) {
    let mut command = Command::new("sh");
    // `exec`: the process that is killed is the one that was meant.
    command.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_tollhouse")).arg("run").current_dir(home);
    match how {
        How::Quick { upstream } => {
            command.args(["--pack", "orders", "--upstream", upstream]);
            command.args(["--secret", "file:shop-key", "--contracts", "contracts.yaml"]);
            command.args(["--listen", "127.0.0.1:0", "--operator", "127.0.0.1:0"]);
            command.args(["--state", "state"]);
        }
        How::Config => {
            command.args(["--config", "tollhouse.yaml"]);
        }
        How::First => {
            command.args(["--config", "tollhouse.yaml", "--init-store"]);
        }
    }
    let log = std::fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
    command.stderr(Stdio::from(log));
    let mut process = Process::start("tollhouse", &mut command);
    let agents = process.ready("agents", "console");
    (process, agents)
}

/// A refund without a token.
pub fn refund(order: &str, amount: &str, key: &str) -> Call<'static> {
    let body = json!({ "order": order, "amount": amount, "currency": "USD" });
    let call = Call::new("POST", "/refunds").json(&body);
    if key.is_empty() { call } else { call.header("Idempotency-Key", key) }
}

/// A development token for `customer`.
pub fn token(state: &Path, customer: &str) -> String {
    let words = ["token", "--agent", "support-bot", "--customer", customer, "--state"];
    let ran = run(tollhouse().args(words).arg(state));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out.trim().to_owned()
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().expect("it does not start");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}
