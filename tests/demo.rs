//! The playground plays what it promises.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::house::run;
use crate::support::tollhouse;

#[test]
fn the_demo_plays_its_script_once() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let mut demo = tollhouse();
    demo.args(["demo", "--once", "--listen", "127.0.0.1:0", "--operator", "127.0.0.1:0"]);
    let ran = run(demo.arg("--state").arg(&state));
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut rest = &*ran.out;
    for promised in [
        "Ann asks about her order A-17.",
        "-> 200 (allow)",
        "A refund of 25.00, within the contract.",
        "-> 200 (allow)",
        "The same again",
        "-> 200 (allow, from memory)",
        "The shop made 1 refund of A-17.",
        "A refund of 450.00, over the cap of 100.00.",
        "-> 403 (hold)",
        "Held for approval by finance",
        "tollhouse holds approve op_",
        "Ann asks about B-20, which is Bob's.",
        "-> 404 (refuse)",
        "A call that no pack knows.",
        "-> 403 (refuse)",
        "agents   http://127.0.0.1:",
        "console  http://127.0.0.1:",
        "token    ey",
    ] {
        let at = rest.find(promised).unwrap_or_else(|| panic!("no `{promised}` in\n{rest}"));
        rest = &rest[at + promised.len()..];
    }
    let verified = run(tollhouse().args(["audit", "verify"]).arg(state.join("audit")));
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// The command that it prints does what it says.
#[test]
fn the_demo_goes_on_and_its_hold_can_be_approved() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let mut demo = tollhouse();
    demo.args(["demo", "--listen", "127.0.0.1:0", "--operator", "127.0.0.1:0", "--state"]);
    let mut child = demo.arg(&state).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let printed = lines.find(|line| line.contains("tollhouse holds approve op_")).unwrap();
    let words: Vec<&str> = printed.split_whitespace().skip(1).collect();
    let op = words[2];
    // The last line: everything is printed, and it goes on.
    assert!(lines.any(|line| line.contains("tollhouse audit verify")));
    let cli = |words: &[&str]| run(tollhouse().args(words).arg("--state").arg(&state));
    let hold = cli(&["holds", "show", op, "--json"]);
    let hold: serde_json::Value = serde_json::from_str(&hold.out).unwrap();
    let digest = hold["digest"].as_str().unwrap();
    let said = run(tollhouse().args(&words).args(["--yes", "--digest", digest]));
    assert_eq!(said.code, 0, "{said:?}");
    let done = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        cli(&["operations", "show", op, "--json"]).out.contains("\"state\": \"done\"")
    });
    assert!(done, "it never ran");
    let killed = run(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert_eq!(killed.code, 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
