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
