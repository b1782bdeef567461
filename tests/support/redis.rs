//! A `redis-server` of one's own: on a free port, in a directory that goes with it, ended with the test.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tollhouse::store::Address;

use super::free_port;
use super::set_clock::SetClock;

/// One server.
pub struct Server {
    child: Option<Child>,
    pub port: u16,
    dir: TempDir,
    settings: Vec<String>,
    clock: Option<SetClock>,
}

impl Server {
    /// With neither disk nor defaults of the machine.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With these settings as well: `["appendonly", "yes"]`; `PORT` is its port.
    pub fn with(settings: &[&str]) -> Self {
        Self::made(settings, |_| None)
    }

    /// The same with a clock that [`Server::set_clock`] sets.
    pub fn with_clock(settings: &[&str]) -> Self {
        Self::made(settings, |dir| Some(SetClock::at(&dir.join("clock"))))
    }

    fn made(settings: &[&str], clock: impl Fn(&Path) -> Option<SetClock>) -> Self {
        // Another process may take a port that was free a moment ago.
        for _ in 0..5 {
            let port = free_port();
            let dir = tempfile::tempdir().unwrap();
            let mut server = Self {
                child: None,
                port,
                clock: clock(dir.path()),
                dir,
                settings: settings.iter().map(|s| (*s).to_owned()).collect(),
            };
            if server.run() {
                return server;
            }
        }
        panic!("no redis-server within five attempts");
    }

    /// Starts it, again on the same port and directory; false when it ended at once.
    pub fn run(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--dir", self.dir.path().to_str().unwrap()])
            .args(["--appendonly", "no", "--loglevel", "warning"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for pair in self.settings.chunks(2) {
            let value = pair[1].replace("PORT", &self.port.to_string());
            command.args([format!("--{}", pair[0]), value]);
        }
        if let Some(clock) = &self.clock {
            command.envs(clock.environment());
        }
        self.child = Some(spawn(command));
        self.is_up()
    }

    /// A sentinel with that file of settings, which it also writes.
    pub fn sentinel(file: &Path, port: u16) -> Self {
        let mut command = Command::new("redis-server");
        command.arg(file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let dir = tempfile::tempdir().unwrap();
        let child = Some(spawn(command));
        let mut server = Self { child, port, dir, settings: Vec::new(), clock: None };
        assert!(server.is_up(), "the sentinel ended");
        server
    }

    fn is_up(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Where it is, for a fleet of that name.
    pub fn address(&self, fleet: &str) -> Address {
        Address::parse(&format!("redis://127.0.0.1:{}", self.port), fleet).unwrap()
    }

    /// Asks it with `redis-cli`.
    pub fn cli(&self, args: &[&str]) -> String {
        let out = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(args)
            .output()
            .expect("redis-cli does not start; install it with: apt-get install redis-server");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Sends it a signal: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Sets its clock so many seconds ahead, or behind.
    pub fn set_clock(&self, seconds: i64) {
        self.clock.as_ref().expect("it was started without a clock of its own").set(seconds);
    }

    /// Whether it can write a snapshot: it cannot over a folder of that name, and takes no writes then.
    pub fn can_save(&self, yes: bool) {
        let place = self.dir.path().join("dump.rdb");
        if yes {
            let _ = std::fs::remove_dir(&place);
            self.cli(&["CONFIG", "SET", "save", ""]);
        } else {
            let _ = std::fs::remove_file(&place);
            std::fs::create_dir_all(&place).unwrap();
            self.cli(&["CONFIG", "SET", "save", "3600 1"]);
            self.cli(&["BGSAVE"]);
        }
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(mut command: Command) -> Child {
    command.spawn().unwrap_or_else(|e| {
        panic!("redis-server does not start: {e}\ninstall it with: apt-get install redis-server")
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
