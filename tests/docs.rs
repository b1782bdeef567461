//! The documents say what is so: every block of README.md and docs/ is read, parsed or loaded as
//! what it says it is, every command line is one that the binary takes, every link leads somewhere.
//! What is marked `run` is also run: `sdk::documents_are_played`, by `tests/guides/play`.

mod ground;
mod shell;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ground::Ground;

use crate::support::root;

/// A fenced block: where it begins, what it says it is, what stands in it.
pub struct Block {
    place: String,
    words: Vec<String>,
    text: String,
}

/// Words after a block's kind that say how it is run; `tests/guides/play` has their meaning.
const RUNNING: &[&str] = &["run", "background", "soon", "until=", "exit=", "into="];

/// Documents that are promised by links and are being written: a link to them counts.
const COMING: &[&str] = &[];

/// README.md and everything under docs/.
fn documents() -> Vec<PathBuf> {
    fn under(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                under(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "md") {
                found.push(path);
            }
        }
    }
    let mut found = vec![root().join("README.md")];
    under(&root().join("docs"), &mut found);
    found.sort();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// Its blocks, and its lines outside of them.
fn read(name: &str, text: &str) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut prose) = (Vec::new(), Vec::new());
    let mut open: Option<(Block, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                let words = info.split_whitespace().map(str::to_owned).collect();
                let place = format!("{name}:{}", number + 1);
                let indent = line.len() - line.trim_start().len();
                open = Some((Block { place, words, text: String::new() }, indent));
            }
            (None, None) => prose.push(line.to_owned()),
            (Some(_), Some("")) => blocks.extend(open.take().map(|(block, _)| block)),
            (Some((block, indent)), _) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "{name}: a block does not end");
    (blocks, prose)
}

/// What a block is, without the words that say how it is run and what its file is called.
fn kind(block: &Block) -> Result<String, String> {
    let is_name = |word: &str| word.contains('.') && !word.contains('=');
    let runs = |word: &str| {
        RUNNING.iter().any(|known| {
            if known.ends_with('=') { word.starts_with(known) } else { word == *known }
        })
    };
    let kind: Vec<&str> =
        block.words.iter().map(|w| &**w).filter(|w| !runs(w) && !is_name(w)).collect();
    let is_run = block.words.iter().any(|word| word == "run");
    if is_run && !matches!(*kind, ["sh" | "console"]) {
        return Err("only `sh` and `console` are run".to_owned());
    }
    match kind.is_empty() {
        true => Err("says nothing of what it is; docs/README.md lists what there is".to_owned()),
        false => Ok(kind.join(" ")),
    }
}

/// Does with a block what it says it is.
fn judge(ground: &Ground, block: &Block) -> Result<(), String> {
    let kind = kind(block)?;
    if let Some(name) = block.words.iter().skip(1).find(|w| w.contains('.') && !w.contains('=')) {
        ground.write(name, &block.text);
    }
    match kind.as_str() {
        "yaml config" => ground.config(&block.text),
        "yaml part" => ground.config(&ground::in_place(ground::BASE, &block.text)),
        "yaml pack" => ground::pack(&block.text),
        "yaml pack part" => ground::pack(&ground::in_place(ground::PACK, &block.text)),
        "yaml golden" => ground.golden(&block.text),
        "cedar" => ground.policy(&block.text),
        "json" => serde_json::from_str::<serde_json::Value>(&block.text)
            .map(drop)
            .map_err(|e| e.to_string()),
        "sh" => shell::judge(&block.text),
        "console" => shell::judge(&shell::commands(&block.text)),
        // Compiled where there is Python and Node: `sdk::code_in_documents_compiles`.
        "python" | "js" => Ok(()),
        // Only shown: output that is somebody else's, pictures in letters.
        "text" => Ok(()),
        other => Err(format!("`{other}` is no kind of block; docs/README.md lists what there is")),
    }
}

fn faults(name: &str, text: &str) -> Vec<String> {
    let ground = Ground::new();
    let (blocks, prose) = read(name, text);
    let of_blocks =
        blocks.iter().filter_map(|b| Some(format!("{}: {}", b.place, judge(&ground, b).err()?)));
    let spans = prose.iter().flat_map(|line| line.split('`').skip(1).step_by(2));
    let of_spans =
        spans.filter_map(|span| Some(format!("{name}: `{span}`: {}", shell::span(span).err()?)));
    of_blocks.chain(of_spans).collect()
}

fn name(document: &Path) -> String {
    document.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn every_block_is_what_it_says_it_is() {
    let found: Vec<String> = documents()
        .iter()
        .flat_map(|document| faults(&name(document), &std::fs::read_to_string(document).unwrap()))
        .collect();
    assert!(found.is_empty(), "{}\n{} faults", found.join("\n"), found.len());
}

#[test]
fn a_faulty_block_is_found() {
    for faulty in [
        "```\ntollhouse check\n```",
        "```yaml\na: 1\n```",
        "```sh later\ntrue\n```",
        "```json run\n{}\n```",
        "```json\n{ \"a\": }\n```",
        "```sh\ntollhouse holds approve\n```",
        "```sh\ntrue && tollhouse freeze all --because x\n```",
        "```sh\nexport A=$(tollhouse tokens)\n```",
        "```sh\nif true\n```",
        "```console\n$ tollhouse pack lin x.yaml\n```",
        "```yaml config\nversion: 1\n```",
        "```yaml part\ncontracts: { orders.refund.create: { cap: 5 } }\n```",
        "```yaml part\ncontract: {}\n```",
        "```yaml part\nqueues: { finance: { escalate: { after: 30m, to: nobody } } }\n```",
        "```yaml pack\npack: x\n```",
        "```yaml pack part\nfacts: { order: { get: /x } }\n```",
        "```yaml golden\n- { send: POST /refunds, json: { order: A }, expect: { class: read } }\n```",
        "```cedar\nforbid (principal, action, resource);\n```",
        "Run `tollhouse hold list`.",
        "See `gate/nowhere.rs`.",
    ] {
        assert!(!faults("faulty", faulty).is_empty(), "not found:\n{faulty}");
    }
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let (_, prose) = read("anchors", text);
    let headings = prose.iter().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Why a link of a document leads nowhere.
fn dead(document: &Path, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.to_owned(),
        file => document.parent().unwrap().join(file),
    };
    if !path.exists() {
        let is_coming = COMING.iter().any(|coming| file.ends_with(coming));
        return (!is_coming).then(|| format!("{}: {target} is not there", name(document)));
    }
    if anchor.is_empty() {
        return None;
    }
    let is_there = anchors(&std::fs::read_to_string(&path).unwrap()).contains(anchor);
    (!is_there).then(|| format!("{}: {target} has no such heading", name(document)))
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = Vec::new();
    let beside = ["CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md", "benches/README.md"];
    for document in documents().into_iter().chain(beside.map(|name| root().join(name))) {
        let (_, prose) = read("links", &std::fs::read_to_string(&document).unwrap());
        let prose = prose.join("\n");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        found.extend(targets.filter_map(|target| dead(&document, target)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let readme = root().join("README.md");
    for target in ["docs/nowhere.md", "docs/packs.md#nowhere", "#nowhere", "docs/deploy.txt"] {
        assert!(dead(&readme, target).is_some(), "{target}");
    }
}

#[test]
fn every_document_is_in_the_index() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    let docs = root().join("docs");
    for document in documents() {
        let Ok(path) = document.strip_prefix(&docs) else { continue };
        let link = format!("]({})", path.display());
        assert!(path == Path::new("README.md") || index.contains(&link), "{link} is not in it");
    }
}

#[test]
fn the_reference_has_every_code_metric_and_command() {
    let reference = std::fs::read_to_string(root().join("docs/reference.md")).unwrap();
    let codes = tollhouse::refusal::Code::ALL.iter().map(|code| code.spec().name.to_owned());
    let mut metrics = BTreeSet::new();
    let files = |dir: &str| std::fs::read_dir(root().join(dir)).unwrap();
    let files = files("src/telemetry").chain(files("src/telemetry/otlp"));
    for file in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(file).unwrap();
        let named =
            text.split("(r, \"tollhouse_").skip(1).filter_map(|rest| rest.split('"').next());
        metrics.extend(named.map(|name| format!("tollhouse_{name}")));
    }
    assert!(metrics.len() > 30, "{metrics:?}");
    let help = crate::support::tollhouse().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = listed.lines().filter_map(|line| line.split_whitespace().next());
    let commands = commands.filter(|name| *name != "help").map(|name| format!("tollhouse {name}"));
    let all = codes.chain(metrics).chain(commands).collect::<Vec<_>>();
    let missing: Vec<_> = all.iter().filter(|name| !reference.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Plays a document as a reader would: what went wrong, or nothing.
fn played(document: &Path) -> Option<String> {
    let mut play = Command::new(crate::support::python("python"));
    play.arg(root().join("tests/guides/play")).arg(document);
    play.args(["--bin", env!("CARGO_BIN_EXE_tollhouse")]).stdin(Stdio::null());
    let output = play.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = || format!("{}\n{}", document.display(), String::from_utf8_lossy(&said));
    (!output.status.success()).then(said)
}

/// Plays every document that has something to run; all at once.
pub fn play() {
    let documents = documents().into_iter().filter(|document| {
        let (blocks, _) = read("play", &std::fs::read_to_string(document).unwrap());
        blocks.iter().any(|block| block.words.iter().any(|word| word == "run"))
    });
    let playing: Vec<_> =
        documents.map(|document| std::thread::spawn(move || played(&document))).collect();
    assert!(playing.len() >= 8, "{} documents", playing.len());
    let found: Vec<_> = playing.into_iter().filter_map(|one| one.join().unwrap()).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Documents that do not say what is so are found, and one that does is not.
pub fn play_forged() {
    let home = tempfile::tempdir().unwrap();
    let document = home.path().join("forged.md");
    let plays = |text: &str| {
        std::fs::write(&document, text).unwrap();
        played(&document)
    };
    let good = "```console run\n$ tollhouse pack list\n..\norders ..\n..\n$ printf 'a\\nb\\n'\na\nb\n```\n";
    assert_eq!(plays(good), None);
    for forged in [
        "```sh run\nfalse\n```",
        "```sh run exit=1\ntrue\n```",
        "```sh run\ntollhouse pack lint nowhere.yaml\n```",
        "```console run\n$ echo a\nb\n```",
        "```console run\n$ echo a\na\nb\n```",
        "```console run\n$ printf 'a\\nb\\n'\na\n```",
        "```console run\n$ true\nsomething\n```",
        "```sh run\ntollhouse holds show op_..\n```",
    ] {
        assert!(plays(forged).is_some(), "not found:\n{forged}");
    }
}

/// Compiles the Python and JavaScript of every document.
pub fn compile() {
    let home = tempfile::tempdir().unwrap();
    let mut count = 0;
    for document in documents() {
        let (blocks, _) = read(&name(&document), &std::fs::read_to_string(&document).unwrap());
        for block in blocks.iter().filter(|b| b.words.iter().any(|w| w == "python" || w == "js")) {
            let (file, mut command) = match block.words[0].as_str() {
                "python" => {
                    (home.path().join("block.py"), Command::new(crate::support::python("python")))
                }
                _ => (home.path().join("block.mjs"), Command::new("node")),
            };
            std::fs::write(&file, &block.text).unwrap();
            match block.words[0].as_str() {
                "python" => command.args(["-m", "py_compile"]).arg(&file),
                _ => command.arg("--check").arg(&file),
            };
            let output = command.output().expect("Node is missing: run `./test sdk`");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}", block.place);
            count += 1;
        }
    }
    assert!(count >= 8, "{count} blocks");
}
