//! Where is an upstream? Its URL, the addresses that DNS gives for it, and which of those may be
//! connected to.
//!
//! Looked up anew for every connection, so that an answer of DNS that changes is judged again
//! (rebinding). It never connects to an address that the rule refuses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::protocols::l4::stream::Stream as TcpTransport;
use pingora::upstreams::peer::{Peer, PeerOptions};
use pingora::utils::tls::CertKey;
use pingora::{Error, ErrorType};
use tokio::net::TcpStream;

use super::pool::Pool;
use super::{ClientCertificate, Upstream, http2};

/// Scheme, host and port of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: Box<str>,
    address: Option<IpAddr>,
    port: u16,
}

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// Which answers of DNS are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Addresses of the public internet only.
    Public,
    /// Those and private ones, for services in house. Never a cloud's metadata service.
    Private,
    /// The configuration names the address itself.
    Explicit,
}

impl Origin {
    /// Reads `https://api.example.com` or `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let fault = |what: &str| format!("`{url}`: {what}, such as `https://api.example.com`");
        let (scheme, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err(fault("expected a URL that begins with https:// or http://"));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(fault("expected no path, query or fragment"));
        }
        if authority.contains('@') {
            return Err(fault("expected no user or password; credentials are set apart"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| fault("expected a port number"))?;
        let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let address = match bare {
            Some(inner) => Some(IpAddr::V6(
                inner.parse().map_err(|_| fault("expected an IPv6 address in brackets"))?,
            )),
            None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        };
        if address.is_none() && !is_host_name(host) {
            return Err(fault("expected a host name or an IP address"));
        }
        let usual = if scheme == Scheme::Https { 443 } else { 80 };
        Ok(Self {
            scheme,
            host: bare.unwrap_or(host).to_ascii_lowercase().into(),
            address,
            port: port.unwrap_or(usual),
        })
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its host, lower case, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `Host` says: the port only where it is not the scheme's own (RFC 9110 s7.2).
    pub fn authority(&self) -> String {
        let host = match self.address {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            Some(IpAddr::V4(_)) | None => self.host.to_string(),
        };
        match (self.scheme, self.port) {
            (Scheme::Https, 443) | (Scheme::Http, 80) => host,
            (Scheme::Https | Scheme::Http, port) => format!("{host}:{port}"),
        }
    }

    /// What is accepted where the configuration says nothing: an address that it names itself, this
    /// machine by its name, else the public internet.
    pub fn usual_addresses(&self) -> Addresses {
        if self.address.is_some() || &*self.host == "localhost" {
            Addresses::Explicit
        } else {
            Addresses::Public
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// `None` when what follows the colon is no port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.contains(']') => {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let port = digits.parse().ok().filter(|port| plain && *port > 0)?;
            Some((host, Some(port)))
        }
        Some(_) | None => Some((authority, None)),
    }
}

/// A name as DNS has them (RFC 1123 s2.1), underscores allowed, and not a number in disguise:
/// `127.1` and `0x7f000001` are addresses to some resolvers.
fn is_host_name(host: &str) -> bool {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = host.rsplit('.').next().unwrap_or("");
    let number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    host.len() <= 253 && host.split('.').all(label) && !number
}

impl Addresses {
    /// Whether `address` may be connected to for `origin`.
    ///
    /// SECURITY: server-side request forgery by DNS: a name that somebody else controls must not
    /// lead into our own network or to a cloud's credentials.
    fn permit(self, origin: &Origin, address: IpAddr) -> bool {
        let address = unmapped(address);
        match self {
            Self::Explicit => match origin.address {
                Some(own) => unmapped(own) == address,
                None => address.is_loopback(),
            },
            Self::Private => !is_never(address),
            Self::Public => !is_never(address) && !is_private(address),
        }
    }
}

/// The IPv4 address inside an IPv6 one: mapped (`::ffff:a.b.c.d`) and NAT64 (`64:ff9b::a.b.c.d`,
/// RFC 6052 s2.1) are roads to the same machine.
fn unmapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let bits = (u32::from(high) << 16) | u32::from(low);
            IpAddr::V4(Ipv4Addr::from_bits(bits))
        }
        _ => address,
    }
}

/// Never a service of ours: metadata, link-local, unspecified, multicast, reserved.
fn is_never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_link_local()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                // Alibaba Cloud's and Azure's metadata services.
                || v4 == Ipv4Addr::new(100, 100, 100, 200)
                || v4 == Ipv4Addr::new(168, 63, 129, 16)
                // RFC 6890: protocol assignments, documentation.
                || (a, b, c) == (192, 0, 0)
                || (a, b, c) == (192, 0, 2)
                || (a, b, c) == (198, 51, 100)
                || (a, b, c) == (203, 0, 113)
        }
        IpAddr::V6(v6) => {
            // AWS' metadata service.
            let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            // IPv4-compatible addresses (RFC 4291 s2.5.5.1, deprecated) and 6to4 hide an IPv4 one.
            let hides = match v6.segments() {
                [0, 0, 0, 0, 0, 0, _, _] => !v6.is_loopback(),
                [0x2002, ..] => true,
                // Teredo and documentation.
                [0x2001, 0 | 0xdb8, ..] => true,
                _ => false,
            };
            v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || hides
                || v6 == metadata
        }
    }
}

/// A service in house, at best: RFC 1918, shared (RFC 6598), loopback, benchmarking, unique local.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, _, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
        }
        IpAddr::V6(v6) => {
            // fec0::/10, site-local, is deprecated and still routed in places (RFC 3879).
            let [first, ..] = v6.segments();
            v6.is_loopback() || v6.is_unique_local() || first & 0xffc0 == 0xfec0
        }
    }
}

/// An upstream as pingora's connector wants it, its connections, and a dial of our own that
/// looks the name up for every connection.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Peerage>);

#[derive(Debug)]
struct Peerage {
    origin: Origin,
    authority: Box<str>,
    pool: Arc<Pool>,
    shared: Arc<http2::Pool>,
    nowhere: PeerAddress,
    options: PeerOptions,
    certificate: Option<ClientCertificate>,
}

impl Line {
    pub(super) fn new(to: &Upstream) -> Self {
        let (origin, addresses, connect) = (&to.url, to.addresses, to.connect);
        let dial = Dial { origin: origin.clone(), addresses, connect };
        let mut options = PeerOptions::new();
        options.custom_l4 = Some(Arc::new(dial));
        options.alpn = http2::offered(to.http);
        Self(Arc::new(Peerage {
            origin: origin.clone(),
            authority: origin.authority().into(),
            pool: Arc::default(),
            shared: Arc::default(),
            nowhere: PeerAddress::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            options,
            certificate: to.certificate.clone(),
        }))
    }

    /// What `Host` says.
    pub(super) fn authority(&self) -> &str {
        &self.0.authority
    }

    /// The connections that wait. Two upstreams never share one, even at one address with different
    /// trust.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// The connections that many streams share.
    pub(super) fn shared(&self) -> &Arc<http2::Pool> {
        &self.0.shared
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.origin, f)
    }
}

impl Peer for Line {
    fn address(&self) -> &PeerAddress {
        &self.0.nowhere
    }

    fn tls(&self) -> bool {
        self.0.origin.scheme == Scheme::Https
    }

    // SECURITY: never empty; without a name pingora would not check the certificate's.
    fn sni(&self) -> &str {
        &self.0.origin.host
    }

    // pingora's own pool is not used.
    fn reuse_hash(&self) -> u64 {
        0
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        Some(&self.0.options)
    }

    fn get_client_cert_key(&self) -> Option<&Arc<CertKey>> {
        self.0.certificate.as_ref().map(ClientCertificate::shown)
    }

    // The dial chose the address; the one that stands here is nobody's.
    fn matches_fd<V: std::os::fd::AsRawFd>(&self, _fd: V) -> bool {
        true
    }
}

#[derive(Debug)]
struct Dial {
    origin: Origin,
    addresses: Addresses,
    connect: Duration,
}

// BOUND: a second address helps when one is down; a fourth only makes the agent wait.
const TRIES_MAX: usize = 3;

impl Dial {
    async fn candidates(&self) -> Result<Vec<SocketAddr>, String> {
        let Origin { host, port, address, .. } = &self.origin;
        let found: Vec<SocketAddr> = match address {
            Some(address) => vec![SocketAddr::new(*address, *port)],
            None => tokio::net::lookup_host((&**host, *port))
                .await
                .map_err(|e| format!("DNS does not know `{host}`: {e}"))?
                .collect(),
        };
        let mut permitted: Vec<SocketAddr> = Vec::with_capacity(TRIES_MAX);
        for candidate in &found {
            if self.addresses.permit(&self.origin, candidate.ip()) && permitted.len() < TRIES_MAX {
                permitted.push(*candidate);
            }
        }
        match (permitted.is_empty(), found.first()) {
            (false, _) => Ok(permitted),
            (true, None) => Err(format!("DNS has no address for `{host}`")),
            (true, Some(first)) => {
                Err(format!("`{host}` is at {}, which `addresses:` does not allow", first.ip()))
            }
        }
    }
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, _nowhere: &PeerAddress) -> pingora::Result<TcpTransport> {
        let refused = |why: String| Error::explain(ErrorType::ConnectError, why);
        let candidates = self.candidates().await.map_err(refused)?;
        let tries = u32::try_from(candidates.len()).unwrap_or(1).max(1);
        let each = self.connect.checked_div(tries).unwrap_or(self.connect);
        let mut last = String::new();
        for candidate in candidates {
            match tokio::time::timeout(each, TcpStream::connect(candidate)).await {
                Ok(Ok(stream)) => return Ok(stream.into()),
                Ok(Err(e)) => last = format!("{candidate}: {e}"),
                Err(_) => last = format!("{candidate}: no connection within {each:?}"),
            }
        }
        Err(refused(last))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        for (url, host, port, authority) in [
            ("https://api.stripe.com", "api.stripe.com", 443, "api.stripe.com"),
            ("https://API.Stripe.com/", "api.stripe.com", 443, "api.stripe.com"),
            ("https://api.stripe.com:443", "api.stripe.com", 443, "api.stripe.com"),
            ("http://127.0.0.1:8420", "127.0.0.1", 8420, "127.0.0.1:8420"),
            ("http://[::1]:80", "::1", 80, "[::1]"),
            ("https://[2001:db9::1]:8443", "2001:db9::1", 8443, "[2001:db9::1]:8443"),
            ("http://orders_v2.internal", "orders_v2.internal", 80, "orders_v2.internal"),
        ] {
            let origin = Origin::parse(url).unwrap();
            assert_eq!((origin.host(), origin.port()), (host, port), "{url}");
            assert_eq!(origin.authority(), authority, "{url}");
        }
    }

    #[test]
    fn what_is_no_such_url_is_told_apart() {
        for (url, expected) in [
            ("api.stripe.com", "https:// or http://"),
            ("ftp://x.example", "https:// or http://"),
            ("HTTPS://x.example", "https:// or http://"),
            ("https://", "host name"),
            ("https://a b.example", "host name"),
            ("https://127.1", "host name"),
            ("https://0x7f000001", "host name"),
            ("https://2130706433", "host name"),
            ("https://x..example", "host name"),
            ("https://bücher.example", "host name"),
            ("https://x.example/v1", "no path"),
            ("https://x.example?a=b", "no path"),
            ("https://x.example#a", "no path"),
            ("https://u:p@x.example", "no user"),
            ("https://x.example:", "port number"),
            ("https://x.example:+80", "port number"),
            ("https://x.example:0", "port number"),
            ("https://x.example:65536", "port number"),
            ("https://[::1", "host name"),
            ("https://[::g]", "IPv6"),
        ] {
            let fault = Origin::parse(url).unwrap_err();
            assert!(fault.contains(expected), "{url}: {fault}");
        }
    }

    #[test]
    fn an_address_is_permitted_by_its_range() {
        let named = Origin::parse("https://x.example").unwrap();
        for (address, public, private) in [
            ("93.184.216.34", true, true),
            ("2606:2800:220:1::1", true, true),
            ("10.0.0.1", false, true),
            ("172.16.9.1", false, true),
            ("172.32.0.1", true, true),
            ("192.168.1.1", false, true),
            ("127.0.0.1", false, true),
            ("127.9.9.9", false, true),
            ("100.64.0.1", false, true),
            ("100.128.0.1", true, true),
            ("198.18.0.1", false, true),
            ("::1", false, true),
            ("fd12:3456::1", false, true),
            ("fec0::1", false, true),
            ("::ffff:10.0.0.1", false, true),
            ("::ffff:93.184.216.34", true, true),
            ("64:ff9b::10.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("169.254.1.1", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("fd00:ec2::254", false, false),
            ("100.100.100.200", false, false),
            ("168.63.129.16", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("0.1.2.3", false, false),
            ("::", false, false),
            ("::10.0.0.1", false, false),
            ("2002:a00:1::", false, false),
            ("2001:0:a00:1::", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("ff02::1", false, false),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(Addresses::Public.permit(&named, ip), public, "public {address}");
            assert_eq!(Addresses::Private.permit(&named, ip), private, "private {address}");
            assert!(!Addresses::Explicit.permit(&named, ip) || ip.is_loopback(), "{address}");
        }
    }

    #[test]
    fn an_address_that_the_configuration_names_is_permitted_and_no_other() {
        for (url, address, expected) in [
            ("http://169.254.169.254", "169.254.169.254", true),
            ("http://10.0.0.1", "10.0.0.2", false),
            ("http://[::1]", "::1", true),
            ("http://localhost", "127.0.0.1", true),
            ("http://localhost", "10.0.0.1", false),
        ] {
            let origin = Origin::parse(url).unwrap();
            assert_eq!(origin.usual_addresses(), Addresses::Explicit);
            let ip = address.parse().unwrap();
            assert_eq!(Addresses::Explicit.permit(&origin, ip), expected, "{url} {address}");
        }
        let named = Origin::parse("https://localhost.example").unwrap();
        assert_eq!(named.usual_addresses(), Addresses::Public);
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_dialled() {
        let origin = Origin::parse("http://localhost:9").unwrap();
        let connect = Duration::from_secs(1);
        let dial = Dial { origin, addresses: Addresses::Public, connect };
        let why = dial.candidates().await.unwrap_err();
        assert!(why.contains("does not allow"), "{why}");
    }
}
