//! Nobody asks the console anything without a token, except for the three probes.

use crate::support::agent::Call;
use crate::support::house::House;
use crate::support::root;
use crate::support::shop::Shop;

const ROUTES: &[(&str, &str)] = &[
    ("GET", "/v1/holds"),
    ("GET", "/v1/holds/{op}"),
    ("POST", "/v1/holds/{op}/approve"),
    ("POST", "/v1/holds/{op}/deny"),
    ("GET", "/v1/freezes"),
    ("POST", "/v1/freezes"),
    ("DELETE", "/v1/freezes/{id}"),
    ("GET", "/v1/operations"),
    ("GET", "/v1/operations/{op}"),
    ("POST", "/v1/operations/{op}/resolve"),
    ("GET", "/v1/store"),
    ("POST", "/v1/store/clear"),
    ("GET", "/v1/records"),
    ("GET", "/v1/config"),
];

#[test]
fn every_route_is_listed_here() {
    let source = std::fs::read_to_string(root().join("src/console.rs")).unwrap();
    let routes = source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"/v1/"));
    for route in routes {
        let path = format!("/v1/{}", route.split('"').next().unwrap());
        assert!(ROUTES.iter().any(|(_, own)| *own == path), "{path} is not asked without a token");
    }
}

#[test]
fn without_a_token_the_console_says_nothing() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let held = house.refund("A-1", "450.00", "k-1");
    let op = held.operation();
    let (url, token) = house.operator();
    for (method, route) in ROUTES {
        let target = route.replace("{op}", &op).replace("{id}", "frz_1");
        let call = || Call::new(method, &target).json(&serde_json::json!({}));
        let near = &token[..token.len() - 1];
        for call in [
            call(),
            call().bearer(""),
            call().bearer(near),
            call().bearer(house.token()),
            call().header("Authorization", &token),
            call().header("Cookie", &format!("token={token}")),
        ] {
            let reply = call.send(&url).unwrap();
            assert_eq!(reply.status, 401, "{method} {target}: {reply:?}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
            assert!(!reply.body.contains(&op) && !reply.body.contains("A-1"), "{reply:?}");
        }
    }
    let unknown = Call::new("GET", "/v1/nothing").send(&url).unwrap();
    assert_eq!(unknown.status, 401, "what is there and what is not looks the same");
    for probe in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(Call::new("GET", probe).send(&url).unwrap().status, 200, "{probe}");
    }
    assert_eq!(house.hold(&op)["state"], "held");

    for (method, route) in ROUTES.iter().filter(|(method, _)| *method == "GET") {
        let target = route.replace("{op}", &op);
        let reply = house.console(Call::new(method, &target));
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
    }
}

#[test]
fn agents_do_not_reach_the_console_by_their_own_door() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let (_, token) = house.operator();
    for target in ["/v1/holds", "/healthz", "/metrics", "/.tollhouse/v1/holds"] {
        let reply = Call::new("GET", target).bearer(&token).send(&house.agents).unwrap();
        assert!([401, 403].contains(&reply.status), "{target}: {reply:?}");
    }
}
