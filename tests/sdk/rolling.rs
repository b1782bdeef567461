//! The real SDK through two replicas on Redis that are restarted one after another.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::running::fleet::{DURABLE, store, until_ready};
use crate::running::rolling::roll;
use crate::support::balancer::Balancer;
use crate::support::house::House;
use crate::support::redis::Server;
use crate::support::{self, Process};

fn text(vendor: u16, redis: u16, balancer: &Balancer) -> String {
    format!(
        "\
version: 1
listen: 127.0.0.1:0
hosts: [\"{}\"]
operator:
  listen: 127.0.0.1:0
  tokens: [ {{ name: ops, roles: [operator], token: file:ops-token, approves: true }} ]
{}
audit: {{ dir: data/audit }}
development: true
identity:
  issuers: [ {{ issuer: tollhouse-dev, audience: tollhouse, jwks: file:state/jwks.json, algorithms: [EdDSA] }} ]
upstreams:
  stripe: {{ url: \"http://[::1]:{vendor}\", pack: stripe, route: /, credentials: env:VENDOR_KEY }}
telemetry: {{ log: text }}
contracts:
  stripe.refund.create:
    team: payments
    cap: {{ auto: 100.00 USD }}
    duplicates: {{ alike: allow }}
    assume: {{ charge.disputed: false }}
",
        balancer.address(),
        store(redis, "")
    )
}

#[test]
fn the_sdk_loses_and_doubles_nothing_while_replicas_are_restarted() {
    let redis = Server::with(DURABLE);
    let (home, vendor) = (tempfile::tempdir().unwrap(), support::free_port());
    let mut localstripe = Command::new(support::python("localstripe"));
    localstripe.args(["--from-scratch", "--port", &vendor.to_string()]);
    localstripe.env("TMPDIR", home.path()).stderr(Stdio::null());
    let _localstripe = Process::start("localstripe", &mut localstripe);
    support::wait_for(&format!("[::1]:{vendor}"));
    let balancer = Balancer::before(&[]);
    let open = |other: Option<&House>| {
        let text = text(vendor, redis.port, &balancer);
        House::replica_in(
            tempfile::tempdir().unwrap(),
            &text,
            other,
            "VENDOR_KEY=sk_test_tollhouse",
        )
    };
    let mut here = open(None);
    let mut there = open(Some(&here));
    until_ready(&here);
    until_ready(&there);
    balancer.set(&[&here.agents, &there.agents]);
    let stop = home.path().join("stop");
    let mut agent = Command::new(support::python("python"));
    agent.arg(support::root().join("tests/sdk/rolling.py"));
    agent.env("TOLLHOUSE", &balancer.url).env("VENDOR", format!("http://[::1]:{vendor}"));
    agent.env("BIN", env!("CARGO_BIN_EXE_tollhouse")).env("STATE", here.state()).env("STOP", &stop);
    let agent = agent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1200));
        roll(&mut here, &there, &balancer);
        std::thread::sleep(Duration::from_millis(1200));
        roll(&mut there, &here, &balancer);
    }
    std::fs::write(&stop, "").unwrap();
    let output = agent.wait_with_output().unwrap();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", words(&output.stdout), words(&output.stderr));
    println!("{} over {:?}", words(&output.stdout), start.elapsed());
    assert_eq!((here.verify().code, there.verify().code), (0, 0));
}
