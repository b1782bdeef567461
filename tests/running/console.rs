//! Agents have no way into the console: what its own door asks is in `tests/console`.

use crate::support::agent::Call;
use crate::support::house::House;
use crate::support::shop::Shop;

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
