//! A console behind a Unix socket: commands reach it there, and nobody else does.

use serde_json::Value;

use super::world::{Who, World};
use crate::support::house::run;
use crate::support::tollhouse;

#[test]
fn commands_reach_a_console_behind_a_socket() {
    let world = World::with("  listen: unix:console.sock\n");
    let socket = world.house.home.path().join("console.sock");
    assert_eq!(world.url, "unix:console.sock");
    let url = format!("unix:{}", socket.display());
    let op = world.held("A-1");
    let ask = |who: Who, words: &[&str]| {
        let mut command = tollhouse();
        command.args(words).args(["--operator", &url, "--operator-token", &who.token()]);
        run(&mut command)
    };
    let listed = ask(Who::Acme, &["holds", "list", "--json"]);
    let holds: Value =
        serde_json::from_str(&listed.out).unwrap_or_else(|e| panic!("{e}: {listed:?}"));
    assert_eq!(holds[0]["id"], *op, "{holds}");
    let none = ask(Who::Other, &["holds", "list", "--json"]);
    assert_eq!((none.code, none.out.trim()), (0, "[]"), "{none:?}");
    let digest = holds[0]["digest"].as_str().unwrap();
    let yes = ["holds", "approve", &op, "--yes", "--digest", digest];
    let viewer = ask(Who::Viewer, &yes);
    assert!(viewer.code == 2 && viewer.err.contains("answers no holds"), "{viewer:?}");
    let said = ask(Who::Acme, &yes);
    assert_eq!(said.code, 0, "{said:?}");
    let code = ask(Who::Acme, &["sign-in"]);
    assert!(code.code == 0 && code.out.trim().len() == 43, "no link leads into a socket: {code:?}");

    let mut wrong = tollhouse();
    wrong.args(["freezes", "--operator", &url, "--operator-token", "not-the-token-of-anybody"]);
    let wrong = run(&mut wrong);
    assert!(wrong.code == 2 && wrong.err.contains("no valid operator token"), "{wrong:?}");
    let mut nobody = tollhouse();
    nobody.args(["freezes", "--operator", "unix:/no/such.sock", "--operator-token", "t"]);
    let nobody = run(&mut nobody);
    assert!(nobody.code == 2 && nobody.err.contains("no console answers"), "{nobody:?}");
}
