//! A gate that serves: listeners bound, the sweep at work, everything stopped together.

mod agents;
mod operators;
mod reload;
pub(super) mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::approval::{Answers, Operator, Tenants};
use crate::clock::Clock;
use crate::config::{self, Config, OperatorSection, OperatorToken, fault};
use crate::console::{self, Lasts, OidcSettings, PublicUrl, Settings};
use crate::gate::{Current, Gate, Work};
use crate::identity::{Wish, mint};
use crate::proxy::{Drained, Service};
use crate::yaml::ConfigErrors;
use agents::Agents;
use operators::Operators;
use reload::Rebuilds;

/// Everything that serves one configuration, and those that follow it.
#[derive(Debug)]
pub struct Running {
    current: Arc<Current>,
    sides: Arc<Sides>,
    tasks: JoinSet<()>,
    sign_in_link: Option<String>,
}

/// Who is served: the agents on one side, operators on the other.
#[derive(Debug)]
struct Sides {
    agents: Agents,
    operators: Operators,
}

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'p> {
    /// Quick mode: its state folder, which gets the console's address and token.
    Quick(&'p Path),
    /// A file, which a reload reads again.
    File(&'p Path),
}

impl Running {
    /// Starts to serve.
    ///
    /// # Errors
    ///
    /// What cannot be opened, bound or read.
    pub async fn start(config: Config, from: Origin<'_>) -> Result<Self, ConfigErrors> {
        let wanted = Wanted::of(&config);
        let freeze_file = config.freeze_file.clone();
        let rebuilds = match from {
            Origin::Quick(_) => None,
            Origin::File(file) => Some(Rebuilds::new(file, &config)),
        };
        // From here on the signals stop calls, or read again, instead of ending the process.
        let usr1 = caught(SignalKind::user_defined1())?;
        // Without a file it ends the process, as a terminal that is closed means it to.
        let hup = rebuilds.as_ref().map(|_| caught(SignalKind::hangup())).transpose()?;
        let gate = begun(config).await?;
        let build = rebuilds.as_ref().map(Rebuilds::build);
        let current = Arc::new(Current::new(Arc::clone(&gate), build));
        let sides = Arc::new(Sides {
            agents: Agents::new(service(&current)),
            operators: Operators::new(&current),
        });
        // Bound once all is sound: a port that is taken hides no fault of the configuration.
        let agents = sides.agents.prepare(wanted.agents, &gate)?;
        let operators = sides.operators.prepare(wanted.operators, &gate, |url| match from {
            Origin::Quick(state) if !url.is_empty() => {
                quick_operator(state, url).map(Some).map_err(|e| fault("--state", &e))
            }
            Origin::Quick(_) | Origin::File(_) => Ok(None),
        })?;
        greet(&gate).await;
        let _told = sides.operators.apply(operators);
        if let Some(path) = &freeze_file {
            // Before anybody is served: what it stops was stopped before this process began.
            gate.look_at_freeze_file(path).await;
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(freeze_at_signal(Arc::clone(&current), usr1));
        if let Some((hup, rebuilds)) = hup.zip(rebuilds) {
            rebuilds.follow(&mut tasks, (&current, &sides), hup);
        }
        let working = Arc::clone(&current);
        tasks.spawn(async move { working.run(|gate| work(gate, freeze_file.clone())).await });
        sides.follow(&mut tasks, &gate);
        let _told = sides.agents.apply(agents);
        let sign_in_link = match from {
            Origin::Quick(_) => sides.operators.console().and_then(|one| one.sign_in_link(QUICK)),
            Origin::File(_) => None,
        };
        Ok(Self { current, sides, tasks, sign_in_link })
    }

    /// What agents use as their base URL.
    pub fn agents_url(&self) -> String {
        let agents = &self.sides.agents;
        let at = agents.address(0).map(|at| format!("{}://{at}", agents.scheme()));
        at.unwrap_or_default()
    }

    /// Every address that agents are served at, and what is served there when it is not all.
    pub fn agents(&self) -> Vec<(String, String)> {
        let scheme = self.sides.agents.scheme();
        let at = |road: &crate::catalog::Road| {
            let address = self.sides.agents.address(road.listener)?;
            let prefix = road.prefix.trim_end_matches('/');
            let what = if prefix.is_empty() && road.listener == 0 {
                String::new()
            } else {
                format!("   {}", road.upstream)
            };
            Some((what, format!("{scheme}://{address}{prefix}")))
        };
        self.current.now().catalog.roads().iter().filter_map(at).collect()
    }

    /// Where the console is, if anywhere.
    pub fn console_url(&self) -> Option<String> {
        self.sides.operators.url()
    }

    /// How a person signs in at the console, in quick mode; it counts once.
    pub fn sign_in_link(&self) -> Option<&str> {
        self.sign_in_link.as_deref()
    }

    /// A token to try by hand, in quick mode.
    ///
    /// # Errors
    ///
    /// When the state folder cannot be read.
    pub fn sample_token(&self, state: &Path) -> anyhow::Result<String> {
        let now = self.current.now().clock.now();
        let day = Duration::from_secs(24 * 60 * 60);
        let wish = Wish {
            agent: "agent".to_owned(),
            customer: Some("customer".to_owned()),
            consent_until: Some(now.plus(day)),
            ttl: day,
            ..Wish::default()
        };
        Ok(mint(state, &wish, now)?)
    }

    /// Answers what is in flight, then stops; false when time ran out before all was answered.
    pub async fn stop(mut self) -> bool {
        let (gate, drain) = (self.current.now(), self.sides.agents.drain());
        gate.standing.stopping.cancel();
        let tasks = async {
            while self.tasks.join_next().await.is_some() {}
            self.sides.operators.ended().await;
        };
        // What a person approved is in flight like any other call, though no agent waits for it.
        let (drained, ended) =
            tokio::join!(self.sides.agents.stop(drain), tokio::time::timeout(drain, tasks));
        self.tasks.shutdown().await;
        // What the last calls were is counted, where the store is there.
        let _counted = tokio::time::timeout(TELL_WITHIN, gate.count_pending()).await.is_ok();
        // Nobody waits for it to follow; a store that is away forgets it by itself.
        let _told = tokio::time::timeout(TELL_WITHIN, gate.store.leave()).await.is_ok();
        gate.audit.close();
        // The end of the record is signed now; whoever keeps it is told.
        let _kept = tokio::time::timeout(TELL_WITHIN, gate.export_last()).await.is_ok();
        gate.tell_collector_last(TELL_WITHIN).await;
        drained == Drained::All && ended.is_ok()
    }
}

/// What a configuration wants to be served.
#[derive(Debug)]
struct Wanted {
    agents: agents::Wanted,
    operators: operators::Wanted,
}

impl Wanted {
    fn of(config: &Config) -> Self {
        Self { agents: agents::Wanted::of(config), operators: operators::Wanted::of(config) }
    }
}

impl Sides {
    /// What they do by themselves until the process stops.
    fn follow(self: &Arc<Self>, tasks: &mut JoinSet<()>, gate: &Arc<Gate>) {
        let (own, known) = (Arc::clone(self), Arc::clone(gate));
        tasks.spawn(async move { own.agents.follow_tls(&known, &known.standing.stopping).await });
        if let Some(console) = self.operators.console() {
            tasks.spawn(async move { console.look_at_the_day().await });
        }
    }
}

/// BOUND: how long a start and an end wait to tell the fleet.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// The gate of a configuration, built on a thread of its own, which ends: what reading and compiling needed goes
/// back to the system.
async fn begun(config: Config) -> Result<Arc<Gate>, ConfigErrors> {
    let vault = config::vault(&config)?;
    let runtime = tokio::runtime::Handle::current();
    let built = std::thread::spawn(move || {
        // A fleet's store has tasks of its own, on the runtime that serves.
        let _inside = runtime.enter();
        config::gate(config, vault, config::Keep::Configured, Clock::System)
    });
    let built = built.join().unwrap_or_else(|_| Err(fault("", "the gate could not be built")));
    let gate = Arc::new(built?);
    // A fleet's store is looked at while others serve; one on this disk is begun before anybody is.
    if !gate.store.is_shared() {
        gate.know_store().await.map_err(|e| fault("store", &e.to_string()))?;
    }
    gate.tell_loss();
    gate.tell_shadow();
    Ok(gate)
}

/// Others are met before the first call needs them.
async fn greet(gate: &Gate) {
    // An issuer that is down is not fatal.
    let _keys = gate.identity.connect().await;
    // Nor is a store that is not there yet: readiness says so, and why.
    gate.look_at_store().await;
    // Who freezes from now on waits for this replica as well.
    let _told = tokio::time::timeout(TELL_WITHIN, gate.store.join()).await.is_ok();
}

fn caught(kind: SignalKind) -> Result<Signal, ConfigErrors> {
    signal(kind).map_err(|e| fault("", &e.to_string()))
}

/// SIGUSR1 stops everything, as often as it comes.
async fn freeze_at_signal(current: Arc<Current>, mut usr1: Signal) {
    let stopping = current.now().standing.stopping.clone();
    while reload::come(&mut usr1, &stopping).await {
        current.now().freeze_by_signal().await;
    }
}

/// What a gate does by itself.
fn work(gate: Arc<Gate>, freeze_file: Option<PathBuf>) -> Work {
    Box::pin(async move {
        let follow = async {
            if let Some(path) = freeze_file {
                gate.follow_freeze_file(&path).await;
            }
        };
        tokio::join!(gate.sweep_until_closed(), follow);
    })
}

fn service(current: &Arc<Current>) -> Service {
    let (serving, refusing) = (Arc::clone(current), Arc::clone(current));
    Service {
        // A call keeps the snapshot that it began with.
        handle: Arc::new(move |request| {
            let gate = serving.of(request.listener);
            Box::pin(async move { gate.handle(request).await })
        }),
        turn_back: Arc::new(move |refusal, _origin| refusing.now().turn_back_unread(refusal)),
    }
}

/// The role that runs Tollhouse, where the configuration names no other.
const OPERATOR: &str = "operator";

/// The name of quick mode's operator.
const QUICK: &str = "quick";

/// Where people sign in with their browser.
pub fn oidc(operator: &OperatorSection, gate: &Gate) -> Option<OidcSettings> {
    let oidc = operator.oidc.clone()?;
    Some(OidcSettings {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        scopes: oidc.scopes.clone(),
        algorithms: oidc.algorithms.clone(),
        claims: operator.claims.clone(),
        client_secret: Arc::new(move || config::client_secret(&oidc)),
        fetch: config::fetch(Arc::clone(&gate.outbound)),
    })
}

/// Who operates it, as the console takes them.
fn operator_side(operator: &OperatorSection, gate: &Gate, url: Option<String>) -> Settings {
    let fetch = config::fetch(Arc::clone(&gate.outbound));
    let usual = Lasts::default();
    let roles = operator.operators.clone();
    let people = config::people(operator, fetch, gate.clock.clone());
    let oidc = oidc(operator, gate);
    Settings {
        public_url: operator.public_url.as_ref().map(PublicUrl::of),
        operators: roles.map_or_else(
            || vec![OPERATOR.into()],
            |roles| roles.into_iter().map(String::into_boxed_str).collect(),
        ),
        lasts: Lasts {
            whole: operator.session.0.unwrap_or(usual.whole),
            idle: operator.session.1.unwrap_or(usual.idle),
        },
        tokens: operator.tokens.iter().map(console_token).collect(),
        people,
        oidc,
        url: url.filter(|url| url.starts_with("http")),
        confirm_over: operator.confirm_over.clone(),
    }
}

fn console_token(token: &OperatorToken) -> console::Token {
    let answers = if token.approves { Answers::Holds } else { Answers::Nothing };
    let boxed = |names: &Vec<String>| names.iter().map(|name| name.as_str().into()).collect();
    let operator = Operator {
        name: token.name.as_str().into(),
        subject: None,
        roles: boxed(&token.roles),
        tenants: token.tenants.as_ref().map_or(Tenants::All, |names| Tenants::These(boxed(names))),
        answers,
    };
    console::Token { sha256: token.sha256, operator }
}

/// The one operator of quick mode: whoever can read the state folder.
fn quick_operator(state: &Path, url: &str) -> Result<console::Token, String> {
    use base64::Engine;
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0_u8; 24];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers")?;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let file = serde_json::json!({ "url": url, "token": token }).to_string();
    let path = state.join("operator.json");
    config::write_secret(&path, file.as_bytes()).map_err(|e| format!("{}: {e}", path.display()))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    let sha256 = digest.as_ref().try_into().map_err(|_| "a digest of another length")?;
    let operator = Operator {
        name: QUICK.into(),
        subject: None,
        roles: vec![OPERATOR.into()],
        tenants: Tenants::All,
        answers: Answers::Holds,
    };
    Ok(console::Token { sha256, operator })
}
