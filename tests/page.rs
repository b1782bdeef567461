//! The page in a real browser: Debian's Chromium, driven by scripts in `tests/console/page`, each of which
//! starts what it needs and says what it found.

use std::process::Command;

use crate::support;

/// Runs a script; what is missing is named with the command that installs it.
fn browser(script: &str) -> Command {
    let at = support::root().join("tests/console");
    for (what, is_there) in [
        ("chromium", std::path::Path::new("/usr/bin/chromium").exists()),
        ("tests/console/node_modules", at.join("node_modules/playwright-core").exists()),
        ("tests/console/node_modules", at.join("node_modules/axe-core").exists()),
    ] {
        assert!(is_there, "{what} is missing: run `./test page`, which installs it");
    }
    let mut node = Command::new("node");
    node.arg(script).current_dir(at.join("page")).env("BIN", env!("CARGO_BIN_EXE_tollhouse"));
    node
}

fn passes(node: &mut Command, said: &str) {
    let ran = node.output().expect("node is missing: run `./test page`, which installs it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success() && out.contains(said), "{out}\n{err}");
}

#[test]
fn a_refund_of_the_stripe_sdk_is_seen_live_approved_by_keyboard_and_done_once() {
    let mut node = browser("live.mjs");
    node.env("PYTHON", support::python("python"));
    node.env("LOCALSTRIPE", support::python("localstripe"));
    passes(&mut node, "in the vendor's books once");
}

#[test]
fn every_view_is_accessible_inert_and_keeps_to_its_policy() {
    passes(&mut browser("views.mjs"), "nothing found");
}

#[test]
fn forms_rows_and_keys_do_what_they_say_and_nothing_twice() {
    passes(&mut browser("forms.mjs"), "lost: fine");
}
