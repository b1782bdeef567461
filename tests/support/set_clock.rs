//! A clock of a process that a test sets, as an operator sets a system's: `set_clock.c` stands between the
//! process and the system's time. The steady clock goes on by itself.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a process is started with.
pub struct SetClock {
    file: PathBuf,
}

impl SetClock {
    /// Right, until it is set.
    pub fn at(file: &Path) -> Self {
        std::fs::write(file, 0_i64.to_ne_bytes()).unwrap();
        Self { file: file.to_owned() }
    }

    /// So many seconds ahead, or behind; at once.
    pub fn set(&self, seconds: i64) {
        // In place: the process has this very file before its eyes.
        let file = File::options().write(true).open(&self.file).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// The environment of the process.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        [("LD_PRELOAD", path(library())), ("SET_CLOCK_FILE", path(&self.file))]
    }

    /// The same as a shell sets it before it becomes the process.
    pub fn exports(&self) -> String {
        let each = self.environment().map(|(name, value)| format!("export {name}='{value}';"));
        each.join(" ")
    }
}

/// Compiled once a run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let (source, made) = (super::root().join("tests/support/set_clock.c"), tmp());
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&made).arg(source);
        let done = cc.status().expect("cc does not start; install it with: apt-get install gcc");
        assert!(done.success(), "set_clock.c does not compile");
        made
    })
}

fn tmp() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("set_clock-{}.so", std::process::id()))
}
