//! Real processes for tests: each on a port of its own, each ended with the test.

pub mod agent;
pub mod authority;
pub mod balancer;
pub mod collector;
pub mod house;
pub mod receiver;
pub mod redis;
pub mod set_clock;
pub mod shop;
pub mod switch;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The root of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `tollhouse` command.
pub fn tollhouse() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tollhouse"))
}

/// A process that dies with the test.
pub struct Process {
    child: Child,
    name: String,
    said: Vec<String>,
    later: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts it, its standard output kept for [`Process::line_with`].
    pub fn start(name: &str, command: &mut Command) -> Self {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap_or_else(|e| {
                panic!("{name} does not start: {e}\ninstall what is missing with ./test")
            });
        Self { child, name: name.to_owned(), said: Vec::new(), later: Arc::default() }
    }

    /// Reads its output up to a line that starts with `start`, and gives what follows there.
    pub fn line_with(&mut self, start: &str) -> String {
        let out = self.child.stdout.take().expect("the output was read before");
        let mut seen = String::new();
        let mut reader = BufReader::new(out);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 {
                panic!("{} ended without `{start}`; it said:\n{seen}", self.name);
            }
            seen.push_str(&line);
            if let Some(rest) = line.trim().strip_prefix(start) {
                // Keep reading, or the process blocks on a full pipe.
                std::thread::spawn(move || reader.lines().for_each(drop));
                return rest.trim().to_owned();
            }
        }
    }

    /// Reads its output up to a line that starts with `last`, and gives what followed `first`.
    pub fn ready(&mut self, first: &str, last: &str) -> String {
        let out = self.child.stdout.take().expect("the output was read before");
        let mut reader = BufReader::new(out);
        loop {
            let mut line = String::new();
            let read = reader.read_line(&mut line).unwrap();
            assert!(read > 0, "{} ended without `{last}`; it said: {:?}", self.name, self.said);
            self.said.push(line.trim().to_owned());
            if line.starts_with(last) {
                // Keep reading, or the process blocks on a full pipe.
                let later = Arc::clone(&self.later);
                std::thread::spawn(move || {
                    reader.lines().for_each(|line| later.lock().extend(line.ok()));
                });
                return self.said(first);
            }
        }
    }

    /// What followed `start` in what was read by [`Process::ready`].
    pub fn said(&self, start: &str) -> String {
        let found = self.said.iter().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no `{start}` in {:?}", self.said)).trim().to_owned()
    }

    /// What followed `start` in a line after those, once it is there.
    pub fn later(&self, start: &str) -> Option<String> {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            let found = self
                .later
                .lock()
                .iter()
                .find_map(|l| l.strip_prefix(start).map(str::trim).map(str::to_owned));
            if found.is_some() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// All lines after those.
    pub fn all_later(&self) -> Vec<String> {
        self.later.lock().clone()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success(), "no {name} to {id}");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago, for servers that cannot take port 0.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something listens there.
pub fn wait_for(address: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nothing listens at {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program of the tests' Python environment.
pub fn python(program: &str) -> PathBuf {
    let path = root().join(".venv/bin").join(program);
    assert!(path.exists(), "{} is missing: run `./test sdk`, which installs it", path.display());
    path
}
