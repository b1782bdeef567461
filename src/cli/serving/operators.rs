//! Where are operators served, and who are they? The console and the probes as the configuration has them, and as
//! the next one has them.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::operator_side;
use crate::config::{Config, ConsoleListen, OperatorSection, fault};
use crate::console::{self, Behind, Console, Door, Token};
use crate::gate::{Current, Gate};
use crate::yaml::ConfigErrors;

/// What a configuration wants of the operators' side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    console: Option<ConsoleListen>,
    probes: Option<SocketAddr>,
    operator: Arc<OperatorSection>,
}

impl Wanted {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            console: config.console.clone(),
            probes: config.probes,
            operator: Arc::clone(&config.operator),
        }
    }
}

/// What is made ready for the next configuration and not served yet.
#[derive(Debug)]
pub(super) struct Change {
    wanted: Wanted,
    console: Arc<Console>,
    own: Turn,
    probes: Turn,
}

/// What becomes of a door.
#[derive(Debug)]
enum Turn {
    Stays,
    Goes,
    Comes(Door, Arc<Behind>),
}

impl Turn {
    fn told(&self, what: &str, before: Option<&Served>) -> Option<String> {
        match self {
            Self::Stays => None,
            Self::Goes => before.map(|served| format!("{what} no more at {}", served.url)),
            Self::Comes(door, _) => Some(format!("{what} at {}", url_of(door))),
        }
    }
}

/// What becomes of an address: as before, none, or this one.
enum At {
    Same,
    Nowhere,
    Here(Door),
}

/// A door that is served.
#[derive(Debug)]
struct Served {
    behind: Arc<Behind>,
    url: String,
    stop: CancellationToken,
}

/// The operators' side of a process.
#[derive(Debug)]
pub(super) struct Operators {
    current: Arc<Current>,
    stopping: CancellationToken,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    wanted: Option<Wanted>,
    console: Option<Arc<Console>>,
    own: Option<Served>,
    probes: Option<Served>,
    tasks: JoinSet<()>,
}

impl Operators {
    /// Nothing is served yet.
    pub(super) fn new(current: &Arc<Current>) -> Self {
        let stopping = current.now().standing.stopping.clone();
        Self { current: Arc::clone(current), stopping, now: Mutex::default() }
    }

    /// Binds what `wanted` has and nobody serves. `quick` is who operates quick mode, by the console's address.
    ///
    /// # Errors
    ///
    /// What cannot be bound or made; then nothing is another.
    pub(super) fn prepare(
        &self,
        wanted: Wanted,
        gate: &Gate,
        quick: impl FnOnce(&str) -> Result<Option<Token>, ConfigErrors>,
    ) -> Result<Change, ConfigErrors> {
        let now = self.now.lock();
        let before = now.wanted.as_ref();
        let own = match (&wanted.console, before.map(|before| &before.console)) {
            (console, Some(same)) if console == same => At::Same,
            (None, _) => At::Nowhere,
            (Some(listen), _) => At::Here(console_door(listen)?),
        };
        let probes = match (wanted.probes, before.map(|before| before.probes)) {
            (probes, Some(same)) if probes == same => At::Same,
            (None, _) => At::Nowhere,
            (Some(at), _) => At::Here(tcp_door("probes", at)?),
        };
        let url = match &own {
            At::Same => now.own.as_ref().map(|served| served.url.clone()),
            At::Nowhere => None,
            At::Here(door) => Some(url_of(door)),
        };
        let same = before.is_some_and(|before| before.operator == wanted.operator);
        let console = match &now.console {
            Some(console) if same && !matches!(own, At::Here(_)) => Arc::clone(console),
            before => {
                let mut settings = operator_side(&wanted.operator, gate, url.clone());
                settings.tokens.extend(quick(url.as_deref().unwrap_or_default())?);
                let console = Console::new(Arc::clone(&self.current), settings, before.as_deref());
                Arc::new(console.map_err(|e| fault("operator", &e))?)
            }
        };
        let behind = |door: &Door| Behind::console(&console, door);
        let own = turn(own, behind).map_err(|e| fault("operator.listen", &e.to_string()))?;
        let probes = turn(probes, |_| Ok(Behind::probes(&console)));
        let probes = probes.map_err(|e| fault("probes", &e.to_string()))?;
        Ok(Change { wanted, console, own, probes })
    }

    /// Serves that. What came and what went, in words.
    pub(super) fn apply(&self, change: Change) -> Vec<String> {
        let mut now = self.now.lock();
        let Change { wanted, console, own, probes } = change;
        for served in [&now.own, &now.probes].into_iter().flatten() {
            served.behind.show(&console);
        }
        let before = (now.own.take(), now.probes.take());
        let mut told = Vec::new();
        told.extend(own.told("the console", before.0.as_ref()));
        told.extend(probes.told("the probes", before.1.as_ref()));
        now.own = self.take(&mut now.tasks, before.0, own);
        now.probes = self.take(&mut now.tasks, before.1, probes);
        (now.wanted, now.console) = (Some(wanted), Some(console));
        // Those that ended are forgotten.
        while now.tasks.try_join_next().is_some() {}
        told
    }

    fn take(&self, tasks: &mut JoinSet<()>, served: Option<Served>, turn: Turn) -> Option<Served> {
        if matches!(turn, Turn::Stays) {
            return served;
        }
        // What was asked there is answered.
        served.iter().for_each(|served| served.stop.cancel());
        let Turn::Comes(door, behind) = turn else { return None };
        let (url, stop) = (url_of(&door), self.stopping.child_token());
        let serve = Arc::clone(&behind).serve(door, stop.clone());
        // Only a socket that broke ends it early; probes will show that.
        tasks.spawn(async move { drop(serve.await) });
        Some(Served { behind, url, stop })
    }

    /// What is shown now.
    pub(super) fn console(&self) -> Option<Arc<Console>> {
        self.now.lock().console.clone()
    }

    /// Where the console is, if anywhere.
    pub(super) fn url(&self) -> Option<String> {
        self.now.lock().own.as_ref().map(|served| served.url.clone())
    }

    /// Until all that was asked is answered.
    pub(super) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut self.now.lock().tasks);
        while tasks.join_next().await.is_some() {}
    }
}

fn turn(at: At, behind: impl FnOnce(&Door) -> std::io::Result<Behind>) -> std::io::Result<Turn> {
    Ok(match at {
        At::Same => Turn::Stays,
        At::Nowhere => Turn::Goes,
        At::Here(door) => {
            let behind = Arc::new(behind(&door)?);
            Turn::Comes(door, behind)
        }
    })
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
