//! Unmodified vendor SDKs against Tollhouse against localstripe, judged by localstripe's own state.

mod rolling;

use std::process::Command;

use crate::support::{self, Process};

/// localstripe, a proxy that loses answers, Tollhouse before both.
struct Stand {
    _localstripe: Process,
    _faults: Process,
    _tollhouse: Process,
    home: tempfile::TempDir,
    agents: String,
    vendor: u16,
    control: u16,
}

impl Stand {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (vendor, faulty, control) =
            (support::free_port(), support::free_port(), support::free_port());
        let mut localstripe = Command::new(support::python("localstripe"));
        localstripe.args(["--from-scratch", "--port", &vendor.to_string()]);
        localstripe.env("TMPDIR", home.path()).stderr(std::process::Stdio::null());
        let localstripe = Process::start("localstripe", &mut localstripe);
        support::wait_for(&format!("[::1]:{vendor}"));
        let mut faults = Command::new(support::python("python"));
        faults.arg(support::root().join("tests/sdk/faults.py"));
        faults.args([faulty, vendor, control].map(|p| p.to_string()));
        let mut faults = Process::start("the fault proxy", &mut faults);
        faults.line_with("ready");
        let mut run = support::tollhouse();
        run.args([
            "run",
            "--pack",
            "stripe",
            "--listen",
            "127.0.0.1:0",
            "--operator",
            "127.0.0.1:0",
        ]);
        run.args([
            "--upstream",
            &format!("http://127.0.0.1:{faulty}"),
            "--secret",
            "env:VENDOR_KEY",
        ]);
        run.arg("--contracts").arg(support::root().join("tests/sdk/contracts.yaml"));
        run.arg("--state").arg(home.path().join("state")).env("VENDOR_KEY", "sk_test_tollhouse");
        let mut tollhouse = Process::start("tollhouse", &mut run);
        let agents = tollhouse.line_with("agents");
        Self {
            _localstripe: localstripe,
            _faults: faults,
            _tollhouse: tollhouse,
            home,
            agents,
            vendor,
            control,
        }
    }

    fn run(&self, agent: &mut Command) {
        let output = agent
            .current_dir(support::root().join("tests/sdk"))
            .env("TOLLHOUSE", &self.agents)
            .env("VENDOR", format!("http://[::1]:{}", self.vendor))
            .env("FAULTS", format!("http://127.0.0.1:{}", self.control))
            .env("BIN", env!("CARGO_BIN_EXE_tollhouse"))
            .env("STATE", self.home.path().join("state"))
            .output()
            .expect("the agent's interpreter is missing: run `./test sdk`, which installs it");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
        println!("{}", text(&output.stdout));
        let mut verify = support::tollhouse();
        verify.args(["audit", "verify"]).arg(self.home.path().join("state/audit"));
        let verified = verify.output().unwrap();
        assert!(verified.status.success(), "{}", text(&verified.stdout));
    }
}

#[test]
fn the_python_sdk_is_served_and_money_is_safe() {
    Stand::new().run(Command::new(support::python("python")).arg("agent.py"));
}

#[test]
fn the_node_sdk_is_served_and_money_is_safe() {
    assert!(
        support::root().join("tests/sdk/node_modules/stripe").exists(),
        "the Stripe SDK for Node is missing: run `./test sdk`, which installs it"
    );
    Stand::new().run(Command::new("node").arg("agent.mjs"));
}

#[test]
fn the_standard_webhooks_library_agrees_with_us() {
    crate::running::answers::the_standard_library_agrees();
}

#[test]
fn documents_are_played() {
    crate::docs::play();
}

#[test]
fn documents_that_lie_are_found() {
    crate::docs::play_forged();
}

#[test]
fn code_in_documents_compiles() {
    crate::docs::compile();
}
