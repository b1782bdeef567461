//! The real binary over TLS, asked by curl: a certificate that is renewed while it serves, agents that must show one.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::authority::Authority;
use crate::support::house::{House, configuration, run};
use crate::support::shop::Shop;

/// Writes a certificate of `authority` and its key into `home`.
fn write(authority: &Authority, home: &Path) {
    let (chain, key) = authority.certificate();
    std::fs::write(home.join("tls.crt"), chain).unwrap();
    std::fs::write(home.join("tls.key"), key).unwrap();
}

fn opened(shop: &Shop, tls: &str, before: impl Fn(&Path)) -> House {
    let home = tempfile::tempdir().unwrap();
    before(home.path());
    let text = configuration(&shop.url(), "");
    let text = text.replace("version: 1\n", &format!("version: 1\ntls: {{ {tls} }}\n"));
    House::written(home, &text, "")
}

/// curl's status, the HTTP it spoke, and its exit code.
fn curl(house: &House, more: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new("curl");
    command.current_dir(house.home.path()).args(["-sS", "--max-time", "10", "--cacert", "ca.pem"]);
    command.args(["-H", &format!("Authorization: Bearer {}", house.token())]);
    command.args(["-o", "/dev/null", "-w", "%{http_code} %{http_version}"]).args(more);
    let told = command.arg(format!("{}/orders/A-1", house.agents)).output();
    let told = told.expect("curl: apt-get install curl");
    (String::from_utf8(told.stdout).unwrap(), told.status.code())
}

#[test]
fn agents_are_served_over_tls_and_a_new_certificate_counts_by_itself() {
    let (shop, first, second) = (Shop::open(), Authority::new(), Authority::new());
    let house = opened(&shop, "certificate: tls.crt, key: file:tls.key", |home| {
        write(&first, home);
        std::fs::write(home.join("ca.pem"), &first.pem).unwrap();
    });
    assert!(house.agents.starts_with("https://127.0.0.1:"), "{}", house.agents);
    assert_eq!(curl(&house, &["--http1.1"]), ("200 1.1".to_owned(), Some(0)));
    assert_eq!(curl(&house, &["--http2"]), ("200 2".to_owned(), Some(0)));
    // 2090-01-01, as scrapers read it.
    let metrics = || house.console(crate::support::agent::Call::new("GET", "/metrics")).body;
    let ends = "tollhouse_certificate_not_after_seconds 3786912000";
    let begun = Instant::now();
    while !metrics().contains(ends) {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", metrics());
        std::thread::sleep(Duration::from_millis(100));
    }
    // A new one from another authority; for a moment only half of it is there.
    let log = || std::fs::read_to_string(house.home.path().join("log")).unwrap();
    let (chain, key) = second.certificate();
    std::fs::write(house.home.path().join("tls.crt"), chain).unwrap();
    let start = Instant::now();
    while !log().contains("was not renewed; the old one counts") {
        assert!(start.elapsed() < Duration::from_secs(10), "{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(curl(&house, &[]).1, Some(0), "the old one counts");
    std::fs::write(house.home.path().join("tls.key"), key).unwrap();
    while !log().contains("the certificate for agents was renewed") {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_ne!(curl(&house, &[]).1, Some(0), "it is not the one that is trusted");
    std::fs::write(house.home.path().join("ca.pem"), &second.pem).unwrap();
    assert_eq!(curl(&house, &[]), ("200 2".to_owned(), Some(0)));
}

#[test]
fn agents_show_their_certificate_where_it_is_asked_for() {
    let (shop, authority, agents) = (Shop::open(), Authority::new(), Authority::new());
    let house =
        opened(&shop, "certificate: tls.crt, key: file:tls.key, clients: agents.pem", |home| {
            write(&authority, home);
            std::fs::write(home.join("ca.pem"), &authority.pem).unwrap();
            std::fs::write(home.join("agents.pem"), &agents.pem).unwrap();
            let (chain, key) = agents.certificate();
            std::fs::write(home.join("own.crt"), chain).unwrap();
            std::fs::write(home.join("own.key"), key).unwrap();
        });
    let (said, code) = curl(&house, &[]);
    assert!(said.starts_with("000") && code != Some(0), "{said} {code:?}");
    let own = ["--cert", "own.crt", "--key", "own.key"];
    assert_eq!(curl(&house, &own), ("200 2".to_owned(), Some(0)));
    assert_eq!(shop.seen().len(), 1);
}

#[test]
fn what_does_not_fit_is_told_at_start_and_by_check() {
    let (shop, authority) = (Shop::open(), Authority::new());
    let home = tempfile::tempdir().unwrap();
    write(&authority, home.path());
    let (_, other) = authority.certificate();
    std::fs::write(home.path().join("other.key"), other).unwrap();
    std::fs::write(home.path().join("shop-key"), "x").unwrap();
    std::fs::write(home.path().join("ops-token"), crate::support::house::OPS_TOKEN).unwrap();
    crate::support::house::token(&home.path().join("state"), "ann");
    let faults = [
        ("certificate: tls.crt, key: file:none.key", "cannot read"),
        ("certificate: tls.crt, key: env:KEY", "expected `file:PATH`"),
        ("certificate: tls.crt, key: file:other.key", "do not fit together"),
        ("certificate: tls.key, key: file:tls.key", "certificate: expected certificates in PEM"),
        ("key: file:tls.key", "certificate"),
    ];
    for (tls, says) in faults {
        let text = configuration(&shop.url(), "");
        let text = text.replace("version: 1\n", &format!("version: 1\ntls: {{ {tls} }}\n"));
        std::fs::write(home.path().join("tollhouse.yaml"), text).unwrap();
        let mut command = crate::support::tollhouse();
        let ran =
            run(command.args(["check", "--config", "tollhouse.yaml"]).current_dir(home.path()));
        assert_eq!(ran.code, 1, "{tls}: {}", ran.out);
        assert!(ran.out.contains(says) || ran.err.contains(says), "{tls}: {} {}", ran.out, ran.err);
    }
}

/// A proxy with TLS before the shop, which lets in who shows a certificate of `clients`.
fn guarded(shop: &Shop, own: &Authority, clients: &Authority) -> std::net::SocketAddr {
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::server::WebPkiClientVerifier;
    use tokio_rustls::rustls::{RootCertStore, ServerConfig};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(ring::default_provider());
    let asks = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let (chain, key) = own.certificate();
    let settings = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(asks.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(settings));
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let (at, to) = (socket.local_addr().unwrap(), shop.address);
    // Ends with the test's process.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let socket = tokio::net::TcpListener::from_std(socket).unwrap();
            while let Ok((tcp, _)) = socket.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                    let mut shop = tokio::net::TcpStream::connect(to).await.unwrap();
                    tokio::io::copy_bidirectional(&mut tls, &mut shop).await.unwrap_or_default();
                });
            }
        });
    });
    at
}

#[test]
fn an_upstream_is_shown_the_certificate_that_it_asks_for_and_a_new_one_counts_by_itself() {
    let (shop, own, clients) = (Shop::open(), Authority::new(), Authority::new());
    let url = format!("https://{}", guarded(&shop, &own, &clients));
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("ca.pem"), &own.pem).unwrap();
    // At first one that the upstream does not trust.
    write(&Authority::new(), home.path());
    let more =
        ", ca: ca.pem, breaker: { open: 1s }, tls: { certificate: tls.crt, key: file:tls.key }";
    let house = House::written(home, &configuration(&url, more), "");
    let refused = house.get("/orders/A-1");
    assert_eq!(refused.status, 504, "{refused:?}");
    // Whose facts cannot be read is sent nothing.
    let refund = house.refund("A-1", "5.00", "k-1");
    assert_eq!(refund.json()["sent"], "no", "{refund:?}");
    let (chain, key) = clients.certificate();
    std::fs::write(house.home.path().join("tls.crt"), chain).unwrap();
    // Half of it changes nothing.
    std::thread::sleep(Duration::from_millis(2500));
    let log = || std::fs::read_to_string(house.home.path().join("log")).unwrap();
    assert!(log().contains("upstreams.shop.tls: certificate and key"), "{}", log());
    std::fs::write(house.home.path().join("tls.key"), &key).unwrap();
    let start = Instant::now();
    while house.get("/orders/A-1").status != 200 {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", log());
        std::thread::sleep(Duration::from_millis(300));
    }
    // The breaker lets a few reads try before an effect.
    house.until(&house.refund_call("A-1", "5.00", "k-2"), |reply| {
        house.get("/orders/A-1");
        reply.status == 200
    });
    assert_eq!(shop.made_of("A-1"), 1);
    let said = house.console(crate::support::agent::Call::new("GET", "/v1/config")).body + &log();
    let secret = key.lines().nth(1).unwrap();
    assert!(!said.contains(secret), "the key is shown nowhere");
}
