//! The configurations that are shipped stay true, and a faulty one is told everything at once.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use crate::support::{self, Process};

/// `config/` in a folder of its own, with every secret and folder that it names.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    copy(&support::root().join("config"), &home.path().join("config"));
    let state = home.path().join(".tollhouse");
    let token = ["token", "--agent", "a", "--customer", "c", "--state"];
    let made = support::tollhouse().args(token).arg(&state).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    home
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn check(file: &Path) -> (bool, String) {
    let mut command = support::tollhouse();
    for name in ["STRIPE_KEY", "OPS_TOKEN", "FINANCE_TOKEN", "SHOP_READ_KEY", "SHOP_KEY"] {
        command.env(name, format!("sixteen-characters-and-more-{name}"));
    }
    let output = command.args(["check", "--config"]).arg(file).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_shipped_configurations_hold() {
    let home = home();
    for name in ["stripe", "shop"] {
        let (holds, said) = check(&home.path().join(format!("config/examples/{name}.yaml")));
        assert!(holds, "{name}: {said}");
    }
    let file = home.path().join("config/tollhouse.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let secrets = home.path().join("secrets");
    fs::create_dir_all(&secrets).unwrap();
    for name in text.split("/run/secrets/").skip(1) {
        let name = name.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '.').next();
        let name = name.unwrap();
        // A token is of one operator alone; a sealing key is 32 bytes in base64.
        let secret = match name {
            "tollhouse-seal" => "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
            key if key.ends_with(".pem") => {
                let made =
                    support::tollhouse().args(["audit", "key"]).arg(secrets.join(key)).output();
                assert!(made.unwrap().status.success());
                continue;
            }
            key if key.ends_with("-hook-key") => {
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()
            }
            url if url.ends_with("-url") => "https://hooks.chat.example/T0/secret".to_owned(),
            other => format!("a-secret-of-{other}-alone"),
        };
        fs::write(secrets.join(name), secret).unwrap();
    }
    let keys = home.path().join(".tollhouse/jwks.json");
    let text = text
        .replace("/run/secrets", secrets.to_str().unwrap())
        .replace("/etc/tollhouse/id-keys.json", keys.to_str().unwrap());
    fs::write(&file, text).unwrap();
    let (holds, said) = check(&file);
    assert!(holds, "{said}");
}

#[test]
fn one_fault_hides_no_other() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("faulty.yaml");
    fs::write(
        &file,
        "version: 2\nlisten: 0.0.0.0:8700\nfleet: x y\nstore: redis://nowhere\naudit: { dir: audit }\n\
         identity: { issuers: [] }\nupstreams:\n  a: { url: ftp://x, pack: none, credentials: secret, timeout: { answer: soon } }\n\
         contracts: { class/financial: { outcome: maybe } }\nlimits: [ { name: a, per: planet, rate: 1/s } ]\nstray: 1\n",
    )
    .unwrap();
    let (holds, said) = check(&file);
    assert!(!holds);
    for (line, key) in [
        (1, "version"),
        (2, "listen"),
        (3, "fleet"),
        (4, "store"),
        (6, "identity.issuers"),
        (8, "upstreams.a.url"),
        (8, "upstreams.a.pack"),
        (8, "upstreams.a.credentials"),
        (8, "upstreams.a.timeout.answer"),
        (9, "contracts"),
        (10, "limits"),
        (11, "stray"),
    ] {
        let found =
            said.lines().any(|l| l.contains(&format!("faulty.yaml:{line}:")) && l.contains(key));
        assert!(found, "line {line}, {key} is not told:\n{said}");
    }
    assert!(!said.contains("audit: is not a key"), "{said}");
}

#[test]
fn an_issuers_keys_are_fetched_from_its_address() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let token = ["token", "--agent", "a", "--customer", "c", "--state"];
    let made = support::tollhouse().args(token).arg(&state).output().unwrap();
    let token = String::from_utf8(made.stdout).unwrap();
    let keys = fs::read_to_string(state.join("jwks.json")).unwrap();
    let issuer = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = issuer.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in issuer.incoming().flatten() {
            let mut head = [0; 2048];
            let read = stream.read(&mut head).unwrap_or(0);
            let found = head[..read].starts_with(b"GET /keys/jwks.json HTTP/1.1");
            let status = if found { "200 OK" } else { "404 Not Found" };
            let length = keys.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{keys}"
            );
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    let file = home.path().join("tollhouse.yaml");
    let nowhere = support::free_port();
    fs::write(
        &file,
        format!(
            "version: 1\nlisten: 127.0.0.1:0\noperator: {{ listen: 127.0.0.1:0 }}\nstore: embedded:store\n\
             audit: {{ dir: audit }}\ndevelopment: true\nidentity: {{ issuers: [ {{ issuer: tollhouse-dev, \
             audience: tollhouse, jwks: 'http://{at}/keys/jwks.json', algorithms: [EdDSA] }} ] }}\n\
             upstreams: {{ orders: {{ url: 'http://127.0.0.1:{nowhere}', pack: orders, route: /, credentials: env:KEY }} }}\n"
        ),
    )
    .unwrap();
    let mut run = support::tollhouse();
    run.args(["run", "--config"]).arg(&file).env("KEY", "k");
    let mut tollhouse = Process::start("tollhouse", &mut run);
    let agents = tollhouse.line_with("agents");
    let address = agents.trim_start_matches("http://").to_owned();
    let ask = |token: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let head = format!(
            "GET /orders/A-1 HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(
        ask(token.trim()).starts_with("HTTP/1.1 502"),
        "the token is believed, the shop is down"
    );
    assert!(ask("nonsense").starts_with("HTTP/1.1 401"));
}

#[test]
fn an_agents_issuer_never_signs_its_operator_in() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("tollhouse.yaml");
    fs::write(home.path().join("jwks.json"), "{\"keys\":[]}").unwrap();
    let issuer = |audience: &str| {
        format!(
            "{{ issuer: https://id.shop.example, audience: {audience}, jwks: file:jwks.json, algorithms: [EdDSA] }}"
        )
    };
    let oidc = |client: &str| {
        format!(
            "public_url: http://127.0.0.1:8701, oidc: {{ issuer: https://id.shop.example, client_id: {client} }}"
        )
    };
    let said = |operator: &str| {
        let text = format!(
            "version: 1\noperator: {{ {operator} }}\nstore: embedded:store\naudit: {{ dir: audit }}\n\
             identity: {{ issuers: [ {} ] }}\n\
             upstreams: {{ orders: {{ url: 'https://shop.example', pack: orders, route: /, credentials: env:SHOP_KEY }} }}\n",
            issuer("[tollhouse, tollhouse-agents]")
        );
        fs::write(&file, text).unwrap();
        check(&file)
    };
    for (operator, sound) in [
        (format!("issuers: [ {} ]", issuer("tollhouse-ops")), true),
        (format!("issuers: [ {} ]", issuer("[tollhouse-ops, tollhouse-agents]")), false),
        (format!("issuers: [ {} ]", issuer("tollhouse")), false),
        (oidc("tollhouse-console"), true),
        (oidc("tollhouse"), false),
    ] {
        let (holds, said) = said(&operator);
        assert_eq!(holds, sound, "{operator}: {said}");
        assert_eq!(said.contains("an agent could answer its own holds"), !sound, "{said}");
        let all = said.contains("whoever an issuer lets in sees every tenant");
        assert_eq!(all, sound, "{said}");
    }
    let (holds, said) = said("oidc: { issuer: https://id.shop.example, client_id: console }");
    assert!(!holds && said.contains("needs `public_url`"), "{said}");
}

/// What `check` says of `mode` and `rollout`, and whether it holds.
fn check_rollout(home: &Path, top: &str, upstream: &str) -> (bool, String) {
    let file = home.join("tollhouse.yaml");
    fs::write(home.join("jwks.json"), "{\"keys\":[]}").unwrap();
    let text = format!(
        "version: 1\noperator: {{ listen: off }}\nstore: embedded:store\naudit: {{ dir: audit }}\n{top}\n\
         identity: {{ issuers: [ {{ issuer: https://id.shop.example, audience: tollhouse, jwks: file:jwks.json, \
         algorithms: [EdDSA] }} ] }}\n\
         upstreams: {{ orders: {{ url: 'https://shop.example', pack: orders, route: /, credentials: env:SHOP_KEY{upstream} }} }}\n"
    );
    fs::write(&file, text).unwrap();
    check(&file)
}

#[test]
fn what_runs_in_shadow_is_said_aloud_and_what_cannot_be_is_a_fault() {
    let home = tempfile::tempdir().unwrap();
    let loud = "noted, not applied: money moves without approval";
    for (top, upstream, said) in [
        ("", "", ""),
        ("mode: enforce", "", ""),
        ("mode: shadow", "", "SHADOW: all:"),
        ("", ", mode: shadow", "SHADOW: upstream/orders:"),
        (
            "rollout: [ { for: class/financial agent/bot, mode: shadow } ]",
            "",
            "SHADOW: class/financial agent/bot:",
        ),
        (
            "rollout: [ { for: class/financial, mode: enforce, auto: 5%, by: customer } ]",
            "",
            "rollout: 5% of class/financial runs by itself, by customer; the rest waits for people",
        ),
        (
            "rollout: [ { for: action/orders.refund.create upstream/orders, auto: 0.5%, by: tenant } ]",
            "",
            "rollout: 0.5% of action/orders.refund.create upstream/orders runs by itself, by tenant",
        ),
    ] {
        let (holds, text) = check_rollout(home.path(), top, upstream);
        assert!(holds && text.contains(said), "{top}{upstream}: {text}");
        assert_eq!(text.contains(loud), said.starts_with("SHADOW"), "{top}{upstream}: {text}");
    }
    for (top, upstream, fault) in [
        ("mode: maybe", "", "expected `enforce` or `shadow`, got `maybe`"),
        ("", ", mode: off", "expected `enforce` or `shadow`, got `off`"),
        ("rollout: shadow", "", "expected a list of"),
        ("rollout: [ { for: class/money, mode: shadow } ]", "", "`money` is no class"),
        ("rollout: [ { mode: shadow } ]", "", "is required and missing"),
        ("rollout: [ { for: class/financial } ]", "", "expected `mode`, or a share as `auto: 5%`"),
        ("rollout: [ { for: class/financial, auto: 101% } ]", "", "expected a share such as"),
        ("rollout: [ { for: all, mode: shadow, auto: 5% } ]", "", "in shadow nothing does"),
        ("rollout: [ { for: all, mode: shadow, by: agent } ]", "", "is for a share"),
        ("rollout: [ { for: all, auto: 5%, by: order } ]", "", "expected `customer`, `agent`,"),
        ("rollout: [ { for: customer/cus_9, mode: shadow } ]", "", "a customer is no scope here"),
        (
            "rollout: [ { for: upstream/shop, mode: shadow } ]",
            "",
            "there is no `upstream/shop` here",
        ),
        (
            "rollout: [ { for: action/orders.x, auto: 1% } ]",
            "",
            "there is no `action/orders.x` here",
        ),
        ("rollout: [ { for: all, auto: 5%, per: agent } ]", "", "is not a key here"),
    ] {
        let (holds, text) = check_rollout(home.path(), top, upstream);
        assert!(!holds && text.contains(fault), "{top}{upstream}: {text}");
    }
}
