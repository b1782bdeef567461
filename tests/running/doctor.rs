//! `tollhouse check --connect`: what is wrong around a configuration, and what to do about it.

use std::path::Path;

use crate::support::house::{House, Ran, configuration, run};
use crate::support::shop::Shop;
use crate::support::tollhouse;

/// A configuration in a folder that a house of it served from, so that keys and secrets are there.
fn checked(home: &Path, text: &str) -> Ran {
    std::fs::write(home.join("tollhouse.yaml"), text).unwrap();
    run(tollhouse().args(["check", "--connect", "--config"]).arg(home.join("tollhouse.yaml")))
}

fn line<'a>(ran: &'a Ran, begins: &str) -> &'a str {
    let line = ran.out.lines().find(|line| line.starts_with(begins));
    line.unwrap_or_else(|| panic!("no line begins with `{begins}`:\n{}{}", ran.out, ran.err))
}

#[test]
fn what_serves_is_told_and_nothing_is_changed_or_made() {
    let shop = Shop::open();
    let text = configuration(&shop.url(), "");
    let mut house = House::written(tempfile::tempdir().unwrap(), &text, "");
    let port = house.agents.rsplit(':').next().unwrap();
    let at = house.home.path();
    // As it will be: the same port, which the running one has.
    let ran = checked(at, &text.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        line(&ran, "well   upstream shop").contains("the secret for reading is taken"),
        "{ran:?}"
    );
    assert!(line(&ran, "well   issuer tollhouse-dev").contains("1 key"));
    assert!(line(&ran, "well   audit").contains("takes what is written"));
    assert!(line(&ran, "note   listen").contains("is taken: by a Tollhouse that runs"));
    assert_eq!(ran.out.lines().last(), Some("nothing to mend"));
    assert!(shop.made().is_empty() && shop.posts().is_empty());
    assert!(!house.audit().join(".tollhouse-check").exists());
    assert_eq!(house.stop(), Some(0));
    assert_eq!(house.verify().code, 0, "the log is as it was");
}

#[test]
fn what_does_not_serve_is_told_with_what_to_do() {
    let shop = Shop::open();
    let good = configuration(&shop.url(), "");
    let house = House::written(tempfile::tempdir().unwrap(), &good, "");
    let at = house.home.path();
    let wrong = |ran: &Ran, what: &str, why: &str, mend: &str| {
        assert_eq!(ran.code, 1, "{ran:?}");
        let (told, rest) =
            ran.out.split_once(&format!("WRONG  {what}")).unwrap_or_else(|| panic!("{ran:?}"));
        let mut lines = rest.lines();
        let (said, do_) = (lines.next().unwrap(), lines.next().unwrap());
        assert!(said.contains(why), "{said}");
        assert!(do_.trim_start().starts_with("do: ") && do_.contains(mend), "{do_}");
        assert!(
            !told.contains("WRONG") && ran.out.trim_end().ends_with("1 thing to mend"),
            "{}",
            ran.out
        );
    };
    // A secret that the shop does not take.
    shop.reads_say(401);
    let ran = checked(at, &good);
    wrong(
        &ran,
        "upstream shop",
        "does not take the secret for reading: 401",
        "put the vendor's key",
    );
    shop.reads_say(503);
    wrong(&checked(at, &good), "upstream shop", "is not well: 503", "status page");
    shop.reads_say(200);
    // Nobody there, nobody of that name.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = checked(at, &configuration(&format!("http://{nobody}"), ""));
    wrong(&ran, "upstream shop", "", "nothing listens there");
    let ran = checked(at, &configuration("https://no-such-host.invalid", ""));
    wrong(&ran, "upstream shop", "no-such-host.invalid", "leads nowhere");
    // A folder that cannot be written, also by root: a file stands in its way.
    std::fs::write(at.join("in-the-way"), "").unwrap();
    let ran = checked(at, &good.replace("dir: data/audit", "dir: in-the-way/audit"));
    wrong(&ran, "audit", "in-the-way", "mount a volume");
    // What is not there yet is not made.
    let ran = checked(at, &good.replace("dir: data/audit", "dir: not-yet/audit"));
    assert_eq!((ran.code, at.join("not-yet").exists()), (0, false), "{ran:?}");
    // Keys of another kind than are asked for.
    let ran = checked(at, &good.replace("algorithms: [EdDSA]", "algorithms: [ES256]"));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("issuer tollhouse-dev"), "{ran:?}");
    // A secret that others may read is only noted.
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(at.join("shop-key"), open).unwrap();
    let ran = checked(at, &good);
    assert!(
        ran.out.lines().any(|l| l.starts_with("note   secret") && l.contains("shop-key")),
        "{ran:?}"
    );
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_certificate_that_ends_soon_is_told_before_it_does() {
    let (shop, authority) = (Shop::open(), crate::support::authority::Authority::new());
    let house = House::written(tempfile::tempdir().unwrap(), &configuration(&shop.url(), ""), "");
    let at = house.home.path();
    let text = configuration(&shop.url(), "")
        .replace("version: 1\n", "version: 1\ntls: { certificate: tls.crt, key: file:tls.key }\n");
    let with = |year: i32| {
        let (chain, key) = authority.certificate_until(year);
        std::fs::write(at.join("tls.crt"), chain).unwrap();
        std::fs::write(at.join("tls.key"), key).unwrap();
        checked(at, &text)
    };
    let ran = with(2090);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(line(&ran, "well   tls").contains("2090-01-01"));
    let ran = with(2020);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(line(&ran, "WRONG  tls").contains("it ended at 2020-01-01"));
}
