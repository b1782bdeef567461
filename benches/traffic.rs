//! What stands around a server that is measured: an upstream that is faster than any of them, a load
//! generator that says how late it was itself, and tokens that the issuer of the configuration signed.
//!
//! `traffic upstream LISTEN` | `traffic load JOB.json` | `traffic tokens DIR COUNT`. One thread each, epoll
//! directly, no runtime: they share a core and must not be what is measured.

#[path = "traffic/load.rs"]
mod load;
#[path = "traffic/plan.rs"]
mod plan;
#[path = "traffic/tally.rs"]
mod tally;
#[path = "traffic/tokens.rs"]
mod tokens;
#[path = "traffic/upstream.rs"]
mod upstream;
#[path = "traffic/wire.rs"]
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["upstream", listen] => upstream::serve(listen),
        ["load", job] => load::run(job),
        ["tokens", dir, count] => tokens::write(dir, count),
        _ => Err("usage: traffic upstream LISTEN | load JOB.json | tokens DIR COUNT".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("traffic: {why}");
            ExitCode::from(2)
        }
    }
}
