//! Which scripts are there? Files beside this one, each after the shared prelude, named by its SHA-1.

use std::sync::LazyLock;

use redis::{Cmd, cmd};

/// One script.
#[derive(Debug)]
pub struct Script {
    code: String,
    hash: String,
}

impl Script {
    fn of(parts: &[&str]) -> Self {
        let code = parts.join("\n");
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    /// Runs it where it is known already.
    pub fn by_hash(&self, prefix: &str, packed: &[u8]) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(&self.hash).arg(1).arg(prefix).arg(packed);
        command
    }

    /// Runs it and makes it known: a server that was restarted knows none.
    pub fn by_text(&self, prefix: &str, packed: &[u8]) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(&self.code).arg(1).arg(prefix).arg(packed);
        command
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: [$($file:literal),+];)*) => {$(
        $(#[$doc])*
        pub static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::of(&[include_str!("prelude.lua"), $(include_str!($file)),+])
        });
    )*};
}

scripts! {
    /// Is it known already?
    RECALL: ["known.lua", "recall.lua"];
    /// May it be sent?
    RESERVE: ["known.lua", "reserve.lua"];
    /// What became of it?
    SETTLE: ["settle.lua"];
    /// A hold is answered.
    ANSWER: ["answer.lua"];
    /// Somebody looks for its outcome.
    CLAIM: ["claim.lua"];
    /// The agent has its answer.
    COLLECTED: ["collected.lua"];
    /// A person said something of it.
    NOTE: ["note.lua"];
    /// What is over ends.
    SWEEP: ["sweep.lua"];
    /// Somebody outside is told.
    POST: ["post.lua"];
    /// What waits in a queue.
    WAITING: ["waiting.lua"];
    /// An index is read.
    LIST: ["list.lua"];
    /// How much of a rate is lent?
    LEND: ["lend.lua"];
    /// Who looks for what is over?
    LEASE: ["lease.lua"];
    /// Was the store begun?
    EPOCH: ["epoch.lua"];
    /// What it lost comes back.
    RESTORE: ["restore.lua"];
    /// How often did something happen?
    TALLY: ["tally.lua"];
    /// The fleet's freezes.
    FREEZE: ["freeze.lua"];
    /// A tenant's copy of them.
    COPY: ["copy.lua"];
}
