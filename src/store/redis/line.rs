//! How is Redis reached? One server, the master that sentinels name, or a cluster; one connection, made again
//! when it is lost.
//!
//! Tells what was not executed from what may have been: a connection that could not be made has executed
//! nothing. That is why the connection is kept here and not in the library's manager, which tells both alike.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex as Lock;
use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, RedisResult, Value};
use tokio::sync::Mutex;

use crate::refusal::Fault;

/// BOUND: a script takes some 100 us; an answer that takes this long is none.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
/// BOUND: three round trips, TLS included, across a continent.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Where Redis is.
pub enum Road {
    /// One server.
    Single(Box<Client>),
    /// The master that sentinels name, asked for again whenever the connection is lost.
    Sentinel(Box<Mutex<SentinelClient>>),
    /// A cluster, and one of its nodes for what every node tells.
    Cluster(Box<(ClusterClient, Client)>),
}

#[derive(Clone)]
enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// The connection.
pub struct Line {
    road: ArcSwap<Road>,
    link: Lock<Option<Link>>,
    /// Connections that were made.
    connections: AtomicU64,
    /// Held while a connection is being made, so that many callers make one.
    making: Mutex<Option<Fault>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match **self.road.load() {
            Road::Single(_) => "Line(single)",
            Road::Sentinel(_) => "Line(sentinel)",
            Road::Cluster(_) => "Line(cluster)",
        })
    }
}

impl Line {
    /// Not connected yet.
    pub fn new(road: Road) -> Self {
        let (link, making) = (Lock::default(), Mutex::default());
        Self { road: ArcSwap::from_pointee(road), link, connections: AtomicU64::new(0), making }
    }

    /// Leads over this road from the next call on: who we are there has changed.
    pub fn goes(&self, road: Road) {
        self.road.store(Arc::new(road));
        *self.link.lock() = None;
    }

    /// How many connections were made; a cluster's is one, whatever becomes of its nodes.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(**self.road.load(), Road::Cluster(_))
    }

    /// Sends one command and gives its answer; an error of the server's own is the inner one.
    ///
    /// # Errors
    ///
    /// When it was not sent, or nobody knows what became of it.
    pub async fn ask(&self, command: &Cmd) -> Result<Result<Value, RedisError>, Fault> {
        let link = self.connected().await?;
        let answer = match link {
            Link::One(mut connection) => connection.req_packed_command(command).await,
            Link::Cluster(mut cluster) => cluster.req_packed_command(command).await,
        };
        match answer {
            Ok(Value::ServerError(error)) => Ok(Err(error.into())),
            Ok(value) => Ok(Ok(value)),
            Err(error) if is_spoken(&error) => {
                // A master that became a replica: the next call finds the new one.
                if refuses_writes(&error) {
                    self.forget();
                }
                Ok(Err(error))
            }
            Err(error) => {
                // A timeout alone leaves the connection be: the answer may still come, to nobody.
                if !error.is_timeout() {
                    self.forget();
                }
                Err(Fault::StoreAmbiguous(format!("redis: {error}")))
            }
        }
    }

    /// Asks one node, whichever: for what has no key.
    ///
    /// # Errors
    ///
    /// When it was not sent, or nobody knows what became of it.
    pub async fn ask_any(&self, command: &Cmd) -> Result<Result<Value, RedisError>, Fault> {
        let link = self.connected().await?;
        let Link::Cluster(mut cluster) = link else {
            return self.ask(command).await;
        };
        let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
        let mut command = command.clone();
        match cluster.route_command(std::mem::take(&mut command), route).await {
            Err(error) if !is_spoken(&error) => {
                Err(Fault::StoreAmbiguous(format!("redis: {error}")))
            }
            answer => Ok(answer),
        }
    }

    fn forget(&self) {
        // A cluster's connection finds its own way back.
        if !self.is_cluster() {
            *self.link.lock() = None;
        }
    }

    async fn connected(&self) -> Result<Link, Fault> {
        if let Some(link) = self.link.lock().clone() {
            return Ok(link);
        }
        let waits = self.making.try_lock().is_err();
        let mut failed = self.making.lock().await;
        if let Some(link) = self.link.lock().clone() {
            return Ok(link);
        }
        // Somebody tried while this one waited: that was its attempt, too.
        if let Some(fault) = failed.as_ref().filter(|_| waits) {
            return Err(fault.clone());
        }
        match self.connect().await {
            Ok(link) => {
                *failed = None;
                // Counted first: nothing is asked over one that is not counted.
                self.connections.fetch_add(1, Ordering::AcqRel);
                *self.link.lock() = Some(link.clone());
                Ok(link)
            }
            Err(error) => {
                let fault = Fault::StoreUnavailable(format!("redis cannot be reached: {error}"));
                *failed = Some(fault.clone());
                Err(fault)
            }
        }
    }

    async fn connect(&self) -> RedisResult<Link> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        match &*self.road.load_full() {
            Road::Single(client) => {
                let made = client.get_multiplexed_async_connection_with_config(&config).await;
                made.map(Link::One)
            }
            Road::Sentinel(sentinels) => {
                let mut sentinels = sentinels.lock().await;
                sentinels.get_async_connection_with_config(&config).await.map(Link::One)
            }
            Road::Cluster(cluster) => cluster.0.get_async_connection().await.map(Link::Cluster),
        }
    }

    /// A connection of its own, for what is published.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn listen(&self, channel: &str) -> RedisResult<PubSub> {
        let client = match &*self.road.load_full() {
            Road::Single(client) => (**client).clone(),
            Road::Sentinel(sentinels) => sentinels.lock().await.async_get_client().await?,
            Road::Cluster(cluster) => cluster.1.clone(),
        };
        let mut listening = client.get_async_pubsub().await?;
        listening.subscribe(channel).await?;
        Ok(listening)
    }
}

/// Whether the server itself said it.
fn is_spoken(error: &RedisError) -> bool {
    matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension)
}

fn refuses_writes(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "MASTERDOWN"))
}

/// Answers by which a server says that it has executed nothing. A script asks for its first write before it
/// has written anything, so these cannot come half-way.
const NOT_EXECUTED: &[&str] = &[
    "READONLY",
    "LOADING",
    "NOREPLICAS",
    "OOM",
    "MISCONF",
    "MASTERDOWN",
    "BUSY",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "CROSSSLOT",
    "NOAUTH",
    "WRONGPASS",
    "NOSCRIPT",
    "UNKILLABLE",
];

/// What a server's own error comes to.
pub fn fault(error: &RedisError) -> Fault {
    let code = error.code().unwrap_or("ERR");
    let words = format!("redis: {code} {}", error.detail().unwrap_or_default());
    if NOT_EXECUTED.contains(&code) {
        return Fault::StoreUnavailable(words);
    }
    // A script that failed half-way has written its first half.
    Fault::StoreAmbiguous(words)
}
