//! A gate that serves: listeners bound, the sweep at work, everything stopped together.

mod reload;
pub(super) mod tls;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::approval::{Answers, Operator, Tenants};
use crate::clock::Clock;
use crate::config::{
    self, Config, ConsoleListen, OperatorSection, OperatorToken, TlsSection, fault,
};
use crate::console::{self, Console, Door, Lasts, OidcSettings, PublicUrl, Settings};
use crate::gate::{Current, Gate, Work};
use crate::identity::{Wish, mint};
use crate::proxy::{Bounds, Drained, Hosts, Listener, Server, Service};
use crate::yaml::ConfigErrors;

/// Everything that serves one configuration.
#[derive(Debug)]
pub struct Running {
    current: Arc<Current>,
    scheme: &'static str,
    server: Server,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    drain: Duration,
    agents_url: String,
    console_url: Option<String>,
    sign_in_link: Option<String>,
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
        let (state, rebuilds) = match from {
            Origin::Quick(state) => (Some(state), None),
            Origin::File(file) => (None, Some(reload::build(file, &config))),
        };
        let (build, files) = rebuilds.unzip();
        let wanted = Wanted::of(&config);
        let operator = Arc::clone(&config.operator);
        let drain = config.drain;
        let freeze_file = config.freeze_file.clone();
        // From here on the signal stops calls instead of the process.
        let usr1 = caught(SignalKind::user_defined1())?;
        // Without a file it ends the process, as a terminal that is closed means it to.
        let hup = build.as_ref().map(|_| caught(SignalKind::hangup())).transpose()?;
        let gate = begun(config).await?;
        // Bound once all is sound: a port that is taken hides no fault of the configuration.
        let tls = wanted.tls.as_ref().map(tls::open).transpose()?;
        let listeners = wanted.listeners(tls.as_ref())?;
        let console_door = wanted.console.as_ref().map(console_door).transpose()?;
        let probes_door = wanted.probes.map(|at| tcp_door("probes", at)).transpose()?;
        greet(&gate).await;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let console_url = console_door.as_ref().map(url_of);
        let mut settings = operator_side(&operator, &gate, console_url.clone());
        if let (Some(state), Some(url)) = (state, &console_url) {
            settings.tokens.push(quick_operator(state, url).map_err(|e| fault("--state", &e))?);
        }
        let current = Arc::new(Current::new(Arc::clone(&gate), build));
        let console = Console::new(Arc::clone(&current), settings);
        let console = Arc::new(console.map_err(|e| fault("operator", &e))?);
        let sign_in_link = state.and_then(|_| console.sign_in_link(QUICK));
        serve_operators(&mut tasks, &console, (console_door, probes_door), &stopped);
        if let Some(path) = &freeze_file {
            // Before anybody is served: what it stops was stopped before this process began.
            gate.look_at_freeze_file(path).await;
        }
        tasks.spawn(freeze_at_signal(Arc::clone(&current), usr1));
        if let Some((hup, files)) = hup.zip(files) {
            tasks.spawn(reload::at_signal(Arc::clone(&current), hup));
            tasks.spawn(reload::follow(Arc::clone(&current), files));
        }
        let working = Arc::clone(&current);
        tasks.spawn(async move { working.run(|gate| work(gate, freeze_file.clone())).await });
        let scheme = if tls.is_some() { "https" } else { "http" };
        if let Some(renewed) = tls {
            tasks.spawn(tls::follow(renewed, Arc::clone(&gate)));
        }
        let server = Server::start(listeners, service(&current), Bounds::default())
            .map_err(|e| fault("listen", &e.to_string()))?;
        let agents_url = server.addresses().first().map(|at| format!("{scheme}://{at}"));
        let agents_url = agents_url.unwrap_or_default();
        Ok(Self {
            current,
            scheme,
            server,
            stop,
            tasks,
            drain,
            agents_url,
            console_url,
            sign_in_link,
        })
    }

    /// What agents use as their base URL.
    pub fn agents_url(&self) -> &str {
        &self.agents_url
    }

    /// Every address that agents are served at, and what is served there when it is not all.
    pub fn agents(&self) -> Vec<(String, String)> {
        let at = |road: &crate::catalog::Road| {
            let address = self.server.addresses().get(road.listener)?;
            let prefix = road.prefix.trim_end_matches('/');
            let what = if prefix.is_empty() && road.listener == 0 {
                String::new()
            } else {
                format!("   {}", road.upstream)
            };
            Some((what, format!("{}://{address}{prefix}", self.scheme)))
        };
        self.current.now().catalog.roads().iter().filter_map(at).collect()
    }

    /// Where the console is, if anywhere.
    pub fn console_url(&self) -> Option<&str> {
        self.console_url.as_deref()
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
        let gate = self.current.now();
        gate.standing.stopping.cancel();
        self.stop.send_replace(true);
        let tasks = async { while self.tasks.join_next().await.is_some() {} };
        // What a person approved is in flight like any other call, though no agent waits for it.
        let (drained, ended) =
            tokio::join!(self.server.stop(self.drain), tokio::time::timeout(self.drain, tasks));
        self.tasks.shutdown().await;
        // What the last calls were is counted, where the store is there.
        let _counted = tokio::time::timeout(TELL_WITHIN, gate.count_pending()).await.is_ok();
        // Nobody waits for it to follow; a store that is away forgets it by itself.
        let _told = tokio::time::timeout(TELL_WITHIN, gate.store.leave()).await.is_ok();
        gate.audit.close();
        drained == Drained::All && ended.is_ok()
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

/// The console behind its door, and the probes behind theirs.
fn serve_operators(
    tasks: &mut JoinSet<()>,
    console: &Arc<Console>,
    (own, probes): (Option<Door>, Option<Door>),
    stopped: &watch::Receiver<bool>,
) {
    // Only a socket that broke ends one early; probes will show that.
    if let Some(door) = own {
        let (console, stopped) = (Arc::clone(console), stopped.clone());
        tasks.spawn(async move { drop(console.serve(door, stopped).await) });
    }
    if let Some(door) = probes {
        let (console, stopped) = (Arc::clone(console), stopped.clone());
        tasks.spawn(async move { drop(console.serve_probes(door, stopped).await) });
    }
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
            let gate = serving.now();
            Box::pin(async move { gate.handle(request).await })
        }),
        turn_back: Arc::new(move |refusal, _origin| refusing.now().turn_back_unread(refusal)),
    }
}

/// The addresses that a configuration wants.
struct Wanted {
    agents: Vec<SocketAddr>,
    hosts: Vec<Box<str>>,
    tls: Option<TlsSection>,
    console: Option<ConsoleListen>,
    probes: Option<SocketAddr>,
}

impl Wanted {
    fn of(config: &Config) -> Self {
        let own = config.upstreams.iter().filter_map(|one| one.listen);
        Self {
            agents: std::iter::once(config.listen).chain(own).collect(),
            hosts: config.hosts.iter().map(|host| host.as_str().into()).collect(),
            tls: config.tls.clone(),
            console: config.console.clone(),
            probes: config.probes,
        }
    }

    /// The agents' sockets, the shared one first, bound before anyone is told of them.
    fn listeners(&self, tls: Option<&tls::Renewed>) -> Result<Vec<Listener>, ConfigErrors> {
        let bind = |at: &SocketAddr| {
            let socket =
                TcpListener::bind(at).map_err(|e| fault("listen", &format!("{at}: {e}")))?;
            let tls = tls.map(|renewed| Arc::clone(&renewed.tls));
            Ok(Listener { socket, hosts: Hosts::Named(self.hosts.clone()), tls })
        };
        self.agents.iter().map(bind).collect()
    }
}

fn tcp_door(key: &str, at: SocketAddr) -> Result<Door, ConfigErrors> {
    console::bind(at).map_err(|e| fault(key, &format!("{at}: {e}")))
}

fn console_door(listen: &ConsoleListen) -> Result<Door, ConfigErrors> {
    match listen {
        ConsoleListen::Tcp(at) => tcp_door("operator.listen", *at),
        ConsoleListen::Unix(path) => console::bind_unix(path.clone())
            .map_err(|e| fault("operator.listen", &format!("{}: {e}", path.display()))),
    }
}

fn url_of(door: &Door) -> String {
    match door {
        Door::Tcp(listener) => {
            listener.local_addr().map_or_else(|e| e.to_string(), |at| format!("http://{at}"))
        }
        Door::Unix(_, path) => format!("unix:{}", path.display()),
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
