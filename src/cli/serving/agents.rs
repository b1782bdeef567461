//! Where are agents served? Listeners as the configuration has them, and as the next one has them.
//!
//! Nothing that is served already is bound again: whoever waits at an address that stays is taken by whoever
//! serves it then.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::tls::{self, Renewed};
use crate::config::{Config, TlsSection, fault};
use crate::gate::Gate;
use crate::proxy::{Bounds, Drained, Hosts, Listener, Opened, Ready, Server, Service};
use crate::yaml::ConfigErrors;

/// What a configuration wants of the agents' side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// The shared address, and each upstream's own with its name.
    at: Vec<(Option<Arc<str>>, SocketAddr)>,
    hosts: Vec<Box<str>>,
    tls: Option<TlsSection>,
    /// How long what is in flight may take where nothing is served any more.
    drain: Duration,
}

impl Wanted {
    pub(super) fn of(config: &Config) -> Self {
        let own = |one: &crate::config::UpstreamSection| {
            one.listen.map(|at| (Some(Arc::clone(&one.name)), at))
        };
        Self {
            at: std::iter::once((None, config.listen))
                .chain(config.upstreams.iter().filter_map(own))
                .collect(),
            hosts: config.hosts.iter().map(|host| host.as_str().into()).collect(),
            tls: config.tls.clone(),
            drain: config.drain,
        }
    }
}

/// An address, and as what it is served.
#[derive(Debug)]
struct Place {
    number: usize,
    /// As it was asked for: port 0 is any.
    at: SocketAddr,
    opened: Opened,
}

/// What is bound for the next configuration and not served yet; dropped, it was never there.
#[derive(Debug)]
pub(super) struct Change {
    wanted: Wanted,
    tls: Option<Renewed>,
    /// Those that stay as they are.
    kept: Vec<(usize, SocketAddr)>,
    new: Vec<(usize, SocketAddr, Ready)>,
}

/// The agents' side of a process.
#[derive(Debug)]
pub(super) struct Agents {
    server: Server,
    served: Mutex<Served>,
}

#[derive(Debug)]
struct Served {
    wanted: Option<Wanted>,
    tls: Option<Renewed>,
    places: Vec<Place>,
}

impl Agents {
    /// Nothing is served yet.
    pub(super) fn new(service: Service) -> Self {
        let served = Served { wanted: None, tls: None, places: Vec::new() };
        Self { server: Server::start(service, Bounds::default()), served: Mutex::new(served) }
    }

    /// Binds what `wanted` has and nobody serves.
    ///
    /// # Errors
    ///
    /// What cannot be bound, or a certificate that does not read or fit; then nothing is another.
    pub(super) fn prepare(&self, wanted: Wanted, gate: &Gate) -> Result<Change, ConfigErrors> {
        let served = self.served.lock();
        let before = served.wanted.as_ref();
        let same_tls = before.is_some_and(|before| before.tls == wanted.tls);
        let tls = match &wanted.tls {
            Some(_) if same_tls => served.tls.clone(),
            Some(section) => Some(tls::open(section)?),
            None => None,
        };
        let alike = same_tls && before.is_some_and(|before| before.hosts == wanted.hosts);
        let (mut kept, mut new) = (Vec::new(), Vec::new());
        for (name, at) in &wanted.at {
            let number = name.as_ref().map_or(0, |name| gate.standing.listeners.number(name));
            let here =
                |place: &&Place| place.at == *at && (at.port() != 0 || place.number == number);
            let socket = match served.places.iter().find(here) {
                Some(place) if alike && place.number == number => {
                    kept.push((number, *at));
                    continue;
                }
                Some(place) => place.opened.socket(),
                None => TcpListener::bind(at),
            };
            let hosts = Hosts::Named(wanted.hosts.clone());
            let tls = tls.as_ref().map(|renewed| Arc::clone(&renewed.tls));
            let ready = socket
                .and_then(|socket| self.server.ready(Listener { number, socket, hosts, tls }))
                .map_err(|e| fault("listen", &format!("{at}: {e}")))?;
            new.push((number, *at, ready));
        }
        Ok(Change { wanted, tls, kept, new })
    }

    /// Serves that. Where nothing is served any more, what came in is answered.
    /// What came and what went, in words.
    pub(super) fn apply(&self, change: Change) -> Vec<String> {
        let Change { wanted, tls, kept, new } = change;
        let mut served = self.served.lock();
        let open = |(number, at, ready)| Place { number, at, opened: self.server.open(ready) };
        let mut places: Vec<Place> = new.into_iter().map(open).collect();
        let mut told: Vec<String> =
            places.iter().map(|place| format!("agents at {}", place.opened.address())).collect();
        for place in served.places.drain(..) {
            if kept.contains(&(place.number, place.at)) {
                places.push(place);
                continue;
            }
            if !places.iter().any(|other| other.opened.address() == place.opened.address()) {
                told.push(format!("no more agents at {}", place.opened.address()));
            }
            tokio::spawn(place.opened.close(wanted.drain));
        }
        *served = Served { wanted: Some(wanted), tls, places };
        told
    }

    /// The address of a listener.
    pub(super) fn address(&self, number: usize) -> Option<SocketAddr> {
        let served = self.served.lock();
        let place = served.places.iter().find(|place| place.number == number);
        place.map(|place| place.opened.address())
    }

    /// What their addresses begin with.
    pub(super) fn scheme(&self) -> &'static str {
        if self.served.lock().tls.is_some() { "https" } else { "http" }
    }

    /// How long what is in flight may take at the end.
    pub(super) fn drain(&self) -> Duration {
        self.served.lock().wanted.as_ref().map_or(Duration::ZERO, |wanted| wanted.drain)
    }

    /// Looks at the certificate's files until the process stops.
    pub(super) async fn follow_tls(&self, gate: &Gate, stopping: &CancellationToken) {
        let mut told = String::new();
        while tokio::time::timeout(tls::LOOK_EVERY, stopping.cancelled()).await.is_err() {
            if let Some(renewed) = &mut self.served.lock().tls {
                renewed.look(gate, &mut told);
                gate.telemetry.certificate_ends(renewed.tls.ends());
            }
        }
    }

    /// Answers what is in flight, then stops.
    pub(super) async fn stop(&self, drain: Duration) -> Drained {
        // Nobody connects any more: a socket is closed with its last owner.
        self.served.lock().places.clear();
        self.server.stop(drain).await
    }
}
