//! Policy, through its public API.

#[path = "policy/support.rs"]
mod support;

use support::*;

#[test]
fn smoke() {
    let t = std::time::Instant::now();
    let p = load(vec![refund()], "shop.refund.create: { cap: { auto: 100.00 USD } }", &[]);
    println!("{:?}", t.elapsed());
    match p {
        Ok(p) => println!("{}", p.show("shop.refund.create").unwrap()),
        Err(e) => panic!("{e}"),
    }
}
