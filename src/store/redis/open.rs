//! Where is the fleet's Redis, and who are we there? A URL in words, and answers taken apart.
//!
//! Never keeps a password in a URL: it comes apart from it, and no message repeats one.

use std::fmt;

use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    TlsCertificates, TlsMode, Value,
};

use super::line::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT, Road};
use crate::refusal::Fault;
use crate::store::damaged;

/// Where a fleet's rows are.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The kind of road.
    pub road: Kind,
    /// Host and port: one server, or sentinels, or nodes of a cluster.
    pub hosts: Vec<(String, u16)>,
    /// Whether it is encrypted.
    pub tls: Tls,
    /// The user; `None` for the default one.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The database; a cluster has only 0.
    pub database: i64,
    /// The fleet: replicas of one share their rows.
    pub fleet: Box<str>,
}

/// The kind of road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Single,
    /// The master of that name, as sentinels know it.
    Sentinel(String),
    /// A cluster.
    Cluster,
}

/// Whether it is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// It is not.
    Off,
    /// With the system's authorities.
    System,
    /// With these authorities and no others, as PEM.
    Own(Vec<u8>),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl fmt::Display for Address {
    /// SECURITY: no user, no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(|(h, p)| format!("{h}:{p}")).collect();
        let scheme = match (&self.road, &self.tls) {
            (Kind::Single, Tls::Off) => "redis",
            (Kind::Single, _) => "rediss",
            (Kind::Sentinel(_), _) => "redis-sentinel",
            (Kind::Cluster, _) => "redis-cluster",
        };
        write!(f, "{scheme}://{}/{}", hosts.join(","), self.database)
    }
}

const EXPECTED: &str = "expected `redis://HOST:PORT/DB`, `rediss://` for TLS, \
     `redis-sentinel://HOST:PORT,HOST:PORT/MASTER/DB` or `redis-cluster://HOST:PORT,HOST:PORT`, \
     `?tls=true` for TLS with the last two, and no password";

impl Address {
    /// Reads `redis://[USER@]HOST[:PORT][/DB]`, `rediss://`, `redis-sentinel://[USER@]HOST:PORT,../MASTER[/DB]`,
    /// `redis-cluster://[USER@]HOST:PORT,..`; the last two take `?tls=true`.
    ///
    /// # Errors
    ///
    /// What was expected. The text is not repeated: a password may stand in it.
    pub fn parse(url: &str, fleet: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(EXPECTED)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (places, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, places) = match places.rsplit_once('@') {
            // SECURITY: what stands in a file is read by more people than a secret should be.
            Some((user, _)) if user.contains(':') => {
                return Err(
                    "holds a password: name it under `password:`, as `file:` or `env:`".to_owned()
                );
            }
            Some((user, places)) => (Some(user.to_owned()).filter(|u| !u.is_empty()), places),
            None => (None, places),
        };
        let hosts = places.split(',').map(host).collect::<Option<Vec<_>>>().ok_or(EXPECTED)?;
        let asks_tls = match query {
            "" => false,
            "tls=true" => true,
            _ => return Err(EXPECTED.to_owned()),
        };
        let (road, database, tls) = match (scheme, hosts.as_slice()) {
            ("redis", [_]) => (Kind::Single, path, asks_tls),
            ("rediss", [_]) => (Kind::Single, path, true),
            ("redis-sentinel", _) => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(EXPECTED.to_owned());
                }
                (Kind::Sentinel(master.to_owned()), database, asks_tls)
            }
            ("redis-cluster", _) if path.is_empty() => (Kind::Cluster, "", asks_tls),
            _ => return Err(EXPECTED.to_owned()),
        };
        let database = match database {
            "" => 0,
            number => number.parse().ok().filter(|n| (0..=15).contains(n)).ok_or(EXPECTED)?,
        };
        let tls = if tls { Tls::System } else { Tls::Off };
        let (password, fleet) = (None, fleet.into());
        Ok(Self { road, hosts, tls, user, password, database, fleet })
    }

    pub(super) fn road(&self) -> Result<Road, Fault> {
        let wrong = |error: RedisError| Fault::StoreUnavailable(format!("redis: {error}"));
        match &self.road {
            Kind::Single => self.client().map(Box::new).map(Road::Single).map_err(wrong),
            Kind::Sentinel(master) => self.sentinel(master).map_err(wrong),
            Kind::Cluster => self.cluster().map_err(wrong),
        }
    }

    fn info(&self) -> Result<ConnectionInfo, RedisError> {
        let (host, port) = self.hosts.first().cloned().unwrap_or_default();
        let addr = match self.tls {
            Tls::Off => ConnectionAddr::Tcp(host, port),
            Tls::System | Tls::Own(_) => {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            }
        };
        let mut redis = RedisConnectionInfo::default().set_db(self.database);
        if let Some(user) = &self.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        let info = addr.into_connection_info()?;
        Ok(info.set_redis_settings(redis).set_tcp_settings(at_once()))
    }

    fn client(&self) -> Result<Client, RedisError> {
        match self.certificates() {
            None => Client::open(self.info()?),
            Some(certificates) => Client::build_with_tls(self.info()?, certificates),
        }
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        match &self.tls {
            Tls::Off | Tls::System => None,
            Tls::Own(pem) => {
                Some(TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) })
            }
        }
    }

    fn sentinel(&self, master: &str) -> Result<Road, RedisError> {
        let places = self.hosts.iter().map(|(host, port)| match self.tls {
            Tls::Off => ConnectionAddr::Tcp(host.clone(), *port),
            Tls::System | Tls::Own(_) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        });
        let mut builder = SentinelClientBuilder::new(places, master, SentinelServerType::Master)?
            .set_client_to_redis_db(self.database)
            .set_client_to_redis_tcp_settings(at_once())
            .set_client_to_sentinel_tcp_settings(at_once());
        if self.tls != Tls::Off {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        if let Some(user) = &self.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        Ok(Road::Sentinel(Box::new(tokio::sync::Mutex::new(builder.build()?))))
    }

    fn cluster(&self) -> Result<Road, RedisError> {
        let places = self.hosts.iter().map(|(host, port)| match self.tls {
            Tls::Off => ConnectionAddr::Tcp(host.clone(), *port),
            Tls::System | Tls::Own(_) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        });
        let infos = places.map(IntoConnectionInfo::into_connection_info);
        let infos = infos.collect::<Result<Vec<_>, _>>()?;
        let mut builder = ClusterClient::builder(infos)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(RESPONSE_TIMEOUT)
            .tcp_settings(at_once())
            // BOUND: a slot that moved is asked for where it is now; a call that was lost is ours to repeat.
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(100);
        if self.tls != Tls::Off {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder.certs(certificates);
        }
        if let Some(user) = &self.user {
            builder = builder.username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.password(password);
        }
        Ok(Road::Cluster(Box::new((builder.build()?, self.client()?))))
    }
}

/// Small packets that wait for each other would cost 40 ms each.
fn at_once() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn host(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        // RFC 3986 s3.2.2: an IPv6 address stands in brackets.
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("6379"))?)
        }
        None => text.split_once(':').unwrap_or((text, "6379")),
    };
    Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

/// The parts of an answer that is a list of texts; nothing is an empty text.
pub(super) fn parts(value: Value) -> Option<Vec<Vec<u8>>> {
    let (Value::Array(items) | Value::Set(items)) = value else {
        return None;
    };
    let part = |item| if item == Value::Nil { Some(Vec::new()) } else { bytes(item) };
    items.into_iter().map(part).collect()
}

/// A text.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}

/// A text, or nothing.
///
/// # Errors
///
/// When it is something else.
pub(super) fn maybe(value: Value) -> Result<Option<Vec<u8>>, Fault> {
    if value == Value::Nil {
        return Ok(None);
    }
    bytes(value).map(Some).ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn an_address_is_read() {
        for (url, shown) in [
            ("redis://h", "redis://h:6379/0"),
            ("redis://ana@h:7/3", "redis://h:7/3"),
            ("rediss://[::1]:7", "rediss://::1:7/0"),
            ("redis-sentinel://a:1,b:2/main/4", "redis-sentinel://a:1,b:2/4"),
            ("redis-cluster://a:1,b:2?tls=true", "redis-cluster://a:1,b:2/0"),
        ] {
            assert_eq!(Address::parse(url, "f").unwrap().to_string(), shown);
        }
        let read = Address::parse("redis-sentinel://ana@a:1/main", "f").unwrap();
        assert_eq!((read.road, read.user), (Kind::Sentinel("main".into()), Some("ana".into())));
    }

    #[test]
    fn what_is_none_says_what_was_expected_and_repeats_nothing() {
        for url in [
            "redis:h",
            "redis://",
            "redis://a,b",
            "redis://h:x",
            "redis://h/16",
            "redis://h?x=1",
            "redis-sentinel://h",
            "redis-cluster://h/1",
            "http://h",
        ] {
            assert!(Address::parse(url, "f").unwrap_err().contains("expected"), "{url}");
        }
        let why = Address::parse("redis://ana:hunter2@h", "f").unwrap_err();
        assert!(why.contains("`password:`") && !why.contains("hunter2"), "{why}");
    }
}
