//! The ways to Redis: a cluster, TLS, a user with few rights, sentinels and a failover.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollhouse::call::Outcome;
use tollhouse::clock::Clock;
use tollhouse::refusal::Fault;
use tollhouse::store::redis::Tls;
use tollhouse::store::{
    Address, Entry, FreezeScope, Listed, Recalled, Reserve, Reserved, SealingKey, State, Store,
};

use super::ok;
use crate::asks::{HOUR, ask, name, on, settle};
use crate::support::authority::Authority;
use crate::support::free_port;
use crate::support::redis::Server;

fn store(address: &Address) -> Arc<Store> {
    let key = SealingKey::new([7; 32]).unwrap();
    Arc::new(Store::redis(address, key, Clock::System).unwrap())
}

fn of(tenant: &str, amount: &str, token: u64) -> Reserve {
    let mut asked = on(ask(Some(amount), amount, token), tenant);
    asked.hold.deadline = Clock::System.now().plus(HOUR);
    asked.about.caller.tenant = tenant.into();
    let Entry::Asked(named) = &mut asked.entry else { panic!() };
    named.tenant = tenant.into();
    named.scope = tenant.as_bytes().into();
    asked
}

/// A life: asked, granted, settled, found again by another replica.
async fn lives(store: &Store, other: &Store, tenant: &str) {
    let asked = of(tenant, "60.00 USD", 1);
    let Entry::Asked(named) = asked.entry.clone() else { panic!() };
    let Recalled::Fresh { op, .. } = store.recall(&named).await.unwrap() else { panic!("known") };
    let Reserved::Granted(grant) = store.reserve(asked).await.unwrap() else { panic!("no grant") };
    assert_eq!(grant.record.op, op);
    ok(other.settle(settle(op, 1, Outcome::Succeeded), None).await.unwrap());
    let Recalled::Known(known) = other.recall(&named).await.unwrap() else { panic!("not known") };
    assert_eq!(known.record.state, State::Done { outcome: Outcome::Succeeded });
}

#[tokio::test]
async fn a_cluster_of_three_is_one_store() {
    // The cluster's own port is another one; by default it is 10,000 higher, which may be none.
    let servers: Vec<Server> = (0..3)
        .map(|_| {
            let bus = free_port().to_string();
            Server::with(&["cluster-enabled", "yes", "cluster-port", &bus])
        })
        .collect();
    let places: Vec<String> = servers.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&places)
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(said.contains("All 16384 slots covered"), "{said}");
    for server in &servers {
        while !server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let url = format!("redis-cluster://{},{}", places[0], places[1]);
    let address = Address::parse(&url, "fleet").unwrap();
    let (here, there) = (store(&address), store(&address));
    let tenants: Vec<String> = (0..12).map(|n| format!("tenant {n}")).collect();
    for tenant in &tenants {
        lives(&here, &there, tenant).await;
    }
    // Their rows are on every node, each tenant's on one.
    for server in &servers {
        assert_ne!(server.cli(&["DBSIZE"]), "0");
    }
    assert_eq!(there.listed(Listed::All, 100).await.unwrap().len(), 12);
    assert!(there.counts().await.unwrap().contains(&("done", 12)));
    assert!(here.sweep().await.unwrap().is_empty());
    // A freeze is everywhere.
    let freeze = here.freeze(FreezeScope::default(), None, "spike", "ana").await.unwrap();
    for tenant in tenants.iter().map(String::as_str).chain(["a new one"]) {
        let reserved = there.reserve(of(tenant, "61.00 USD", 2)).await.unwrap();
        assert!(matches!(reserved, Reserved::Blocked(_)), "{tenant}: {reserved:?}");
    }
    assert!(there.unfreeze(&freeze.id).await.unwrap().is_some());
    // And who waits is told across nodes.
    let Reserved::Granted(grant) = here.reserve(of("tenant 1", "62.00 USD", 3)).await.unwrap()
    else {
        panic!("no grant")
    };
    let waits = {
        let (here, op) = (Arc::clone(&here), grant.record.op);
        tokio::spawn(async move { here.changed(op, HOUR).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    ok(there.settle(settle(grant.record.op, 3, Outcome::Rejected), None).await.unwrap());
    tokio::time::timeout(Duration::from_secs(2), waits).await.expect("it was woken").unwrap();
    assert!(here.durability().await.unwrap().is_some());
}

#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let server = Server::start();
    // README lists exactly these.
    let rights = "SETUSER tollhouse on >hunter2 resetkeys resetchannels ~{fleet}* ~{fleet:* \
         &fleet:changed -@all +@read +@write +@scripting +publish +subscribe +time +ping +hello \
         +select +info +config|get";
    let mut acl = vec!["ACL"];
    acl.extend(rights.split_whitespace());
    assert_eq!(server.cli(&acl), "OK");
    assert_eq!(server.cli(&["ACL", "SETUSER", "default", "off"]), "OK");
    let mut address =
        Address::parse(&format!("redis://tollhouse@127.0.0.1:{}", server.port), "fleet").unwrap();
    for wrong in [None, Some("wrong".to_owned())] {
        address.password = wrong;
        let fault = store(&address).recall(&name(Some("k"), "1.00 USD")).await.unwrap_err();
        assert!(matches!(fault, Fault::StoreUnavailable(_)), "{fault}");
        assert!(!fault.to_string().contains("wrong\""), "{fault}");
    }
    address.password = Some("hunter2".to_owned());
    assert!(!format!("{address:?} {address}").contains("hunter2"));
    let (here, there) = (store(&address), store(&address));
    lives(&here, &there, "t").await;
    here.sweep().await.unwrap();
    here.freeze(FreezeScope::default(), None, "", "ana").await.unwrap();
    assert!(here.durability().await.unwrap().unwrap().settings.contains("appendonly no"));
}

#[tokio::test]
async fn a_server_is_known_by_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::new();
    let (certificate, private) = authority.certificate();
    for (name, text) in [("cert", &certificate), ("key", &private), ("ca", &authority.pem)] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let server = Server::with(&[
        "port",
        "0",
        "tls-port",
        "PORT",
        "tls-auth-clients",
        "no",
        "tls-cert-file",
        &file("cert"),
        "tls-key-file",
        &file("key"),
        "tls-ca-cert-file",
        &file("ca"),
    ]);
    let mut address =
        Address::parse(&format!("rediss://127.0.0.1:{}", server.port), "fleet").unwrap();
    address.tls = Tls::Own(authority.pem.clone().into_bytes());
    lives(&store(&address), &store(&address), "t").await;
    // Another authority, or the system's: it is not trusted, and nothing is sent.
    for tls in [Tls::Own(Authority::new().pem.into_bytes()), Tls::System] {
        address.tls = tls;
        let fault = store(&address).recall(&name(Some("k"), "1.00 USD")).await.unwrap_err();
        assert!(matches!(fault, Fault::StoreUnavailable(_)), "{fault}");
    }
}

#[tokio::test]
async fn after_a_failover_the_new_master_is_found() {
    let mut master = Server::with(&["repl-diskless-sync-delay", "0"]);
    let follow = format!("127.0.0.1 {}", master.port);
    let follower = Server::with(&["repl-diskless-sync-delay", "0"]);
    let mut args = vec!["REPLICAOF"];
    args.extend(follow.split(' '));
    assert_eq!(follower.cli(&args), "OK");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sentinel.conf");
    let port = free_port();
    std::fs::write(
        &file,
        format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
            master.port
        ),
    )
    .unwrap();
    let _sentinel = Server::sentinel(&file, port);
    let url = format!("redis-sentinel://127.0.0.1:{port}/main");
    let store = store(&Address::parse(&url, "fleet").unwrap());
    let start = Instant::now();
    let until = |what: &str| assert!(start.elapsed() < Duration::from_secs(40), "{what}");
    while !master.cli(&["INFO", "replication"]).contains("state=online") {
        until("the follower follows");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let granted = store.reserve(of("t", "60.00 USD", 1)).await.unwrap();
    let Reserved::Granted(grant) = granted else { panic!("no grant") };
    while follower.cli(&["DBSIZE"]) != master.cli(&["DBSIZE"]) {
        until("the follower has it");
    }
    // The sentinel must know the follower before it can make it master.
    while follower.cli(&["-p", &port.to_string(), "SENTINEL", "REPLICAS", "main"]).is_empty() {
        until("the sentinel knows the follower");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    master.kill();
    let settled = loop {
        match store.settle(settle(grant.record.op, 1, Outcome::Succeeded), None).await {
            Ok(settled) => break settled,
            Err(_) => until("the new master is found"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let record = ok(settled);
    assert_eq!(record.state, State::Done { outcome: Outcome::Succeeded });
    assert!(follower.cli(&["ROLE"]).starts_with("master"));
}
