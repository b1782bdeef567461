//! What `tollhouse report` makes of a log, to the letter.

use std::path::Path;

use crate::support::house::run;
use crate::support::tollhouse;

/// Logs of two replicas. What is not of the period, repeats, reads, and lines that do not read are among them.
const HERE: &str = r#"{"kind":"segment","timestamp":"2026-03-01T00:00:00.000Z"}
{"kind":"allowed","timestamp":"2026-02-01T09:00:00.000Z","operation":"op_old","class":"financial","shadow":{"code":"approval_required","decision":"hold","policies":["financial.over-cap"]}}
{"kind":"allowed","timestamp":"2026-03-01T09:00:00.000Z","operation":"op_a","class":"financial","action":"orders.refund.create","agent":"bot","customer":"ann","tenant":"acme","amount":{"currency":"USD","minor":15000},"shadow":{"code":"approval_required","decision":"hold","policies":["budget.customer-24h","financial.over-cap"]}}
{"kind":"settled","timestamp":"2026-03-01T09:00:01.000Z","operation":"op_a","class":"financial","shadow":{"code":"approval_required","decision":"hold","policies":["financial.over-cap"]}}
{"kind":"replayed","timestamp":"2026-03-01T09:01:00.000Z","operation":"op_a","class":"financial"}
{"kind":"allowed","timestamp":"2026-03-01T10:00:00.000Z","operation":"op_b","class":"financial","action":"orders.refund.create","agent":"=bot,2","customer":"eve \"e\"","amount":{"currency":"EUR","minor":200000},"shadow":{"code":"over_limit","decision":"refuse","policies":["financial.over-hard-cap"]}}
{"kind":"allowed","timestamp":"2026-03-01T10:01:00.000Z","class":"read","action":"orders.order.retrieve"}
{"kind":"allowed","timestamp":"2026-03-01T10:02:00.000Z","class":"read","action":"orders.order.retrieve"}
{"kind":"allowed","timestamp":"2026-03-01T10:03:00.000Z","operation":"op_plain","class":"write","action":"orders.note.create"}
{"kind":"refused","timestamp":"2026-03-01T10:04:00.000Z","operation":"op_c","class":"financial","code":"not_found"}
{"kind":"refused","timestamp":"2026-03-01T10:05:00.000Z","operation":"op_d","class":"write","action":"orders.order.cancel","agent":"bot","code":"forbidden","policies":["cancel.admin-only"]}
{"kind":"refused","timestamp":"2026-03-01T10:05:01.000Z","operation":"op_d","class":"write","action":"orders.order.cancel","agent":"bot","code":"forbidden","policies":["cancel.admin-only"]}
{"kind":"refused_more","timestamp":"2026-03-01T10:05:02.000Z","code":"forbidden","count":7}
{"kind":"marked","timestamp":"2026-03-02T08:00:00.000Z","operation":"op_a","mark":"needless","by":"ana","note":"a usual amount"}
{"kind":"allo"#;
const THERE: &str = r#"{"kind":"held","timestamp":"2026-03-02T09:00:00.000Z","operation":"op_e","class":"financial","action":"orders.refund.create","agent":"bot","amount":{"currency":"USD","minor":20000},"code":"approval_required","policies":["financial.over-cap"]}
{"kind":"held","timestamp":"2026-03-02T09:00:30.000Z","operation":"op_e","class":"financial","action":"orders.refund.create","agent":"bot","amount":{"currency":"USD","minor":20000},"code":"approval_required","policies":["financial.over-cap"]}
{"kind":"approved","timestamp":"2026-03-02T09:10:00.000Z","operation":"op_e","by":"ana"}
{"kind":"allowed","timestamp":"2026-03-02T09:10:01.000Z","operation":"op_e","class":"financial","action":"orders.refund.create","agent":"bot","amount":{"currency":"USD","minor":20000}}
{"kind":"marked","timestamp":"2026-03-01T12:00:00.000Z","operation":"op_a","mark":"right","by":"ben"}
{"kind":"marked","timestamp":"2026-03-03T12:00:00.000Z","operation":"op_e","mark":"right","by":"ben"}
"#;

fn log(dir: &Path, boot: &str, text: &str) -> String {
    let at = dir.join(boot).join("01KKKKKKKKKKKKKKKKKKKKKKKK");
    std::fs::create_dir_all(&at).unwrap();
    std::fs::write(at.join("000001.jsonl"), text).unwrap();
    dir.join(boot).display().to_string()
}

fn report(words: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let (here, there) = (log(home.path(), "here", HERE), log(home.path(), "there", THERE));
    let mut command = tollhouse();
    command.args(["report", "--audit", &here, "--audit", &there]);
    command.args(["--since", "2026-03-01T00:00:00Z", "--until", "2026-03-03T00:00:00Z"]);
    let ran = run(command.args(words));
    (ran.code, ran.out, ran.err)
}

#[test]
fn two_replicas_logs_are_one_report() {
    let (code, said, err) = report(&[]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        said,
        "\
2026-03-01T00:00:00.000Z to 2026-03-03T00:00:00.000Z
5 effects and 2 reads; rules spoke against 57.1% of them
        1  in shadow, would have been held: 150.00 USD
        1  in shadow, would have been refused: 2000.00 EUR
        1  held: 200.00 USD
        1  refused: -
People would have been asked 1 times on 1 days: some 1 a day, 1 on the busiest
People were asked 1 times on 1 days: some 1 a day, 1 on the busiest
        7  more were refused, too fast to be told apart

POLICY                   WOULD HOLD  WOULD REFUSE  HELD  REFUSED  AMOUNT                   NEEDLESS  RIGHT  NOT LOOKED AT  PRECISION
financial.over-cap       1           0             1     0        150.00 USD + 200.00 USD  1         1      0              50%
budget.customer-24h      1           0             0     0        150.00 USD               1         0      0              0%
cancel.admin-only        0           0             0     1        -                        0         0      1              -
financial.over-hard-cap  0           1             0     0        2000.00 EUR              0         0      1              -
"
    );
}

#[test]
fn each_group_and_the_single_ones_are_told() {
    for (by, names) in [
        ("action", vec!["orders.refund.create", "orders.order.cancel"]),
        ("class", vec!["financial", "write"]),
        ("agent", vec!["bot", "=bot,2"]),
        ("tenant", vec!["", "acme"]),
        ("code", vec!["approval_required", "forbidden", "over_limit"]),
    ] {
        let (code, said, err) = report(&["--by", by, "--json"]);
        assert_eq!(code, 0, "{err}");
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        let found: Vec<_> = report["groups"].as_array().unwrap().iter().collect();
        let found: Vec<_> = found.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{by}");
        assert_eq!((&report["complete"], &report["unread"]), (&true.into(), &1.into()), "{report}");
    }
    let (_, said, _) = report(&["--csv"]);
    assert_eq!(
        said,
        "\
at,operation,came,code,action,class,agent,tenant,customer,answer,mark_verdict,mark_reason,policies,minor,currency
2026-03-02T09:00:00.000Z,op_e,held,approval_required,orders.refund.create,financial,bot,,,approved,right,,financial.over-cap,20000,USD
2026-03-01T10:05:00.000Z,op_d,refused,forbidden,orders.order.cancel,write,bot,,,,,,cancel.admin-only,,
2026-03-01T10:00:00.000Z,op_b,would_refuse,over_limit,orders.refund.create,financial,\"'=bot,2\",,\"eve \"\"e\"\"\",,,,financial.over-hard-cap,200000,EUR
2026-03-01T09:00:00.000Z,op_a,would_hold,approval_required,orders.refund.create,financial,bot,acme,ann,,needless,a usual amount,budget.customer-24h financial.over-cap,15000,USD
"
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut command = tollhouse();
    let ran = run(command.args(["report", "--audit", "/nowhere/at/all"]));
    assert!(ran.code == 2 && ran.err.contains("no log can be read in /nowhere/at/all"), "{ran:?}");
    let (code, _, err) = report(&["--by", "order"]);
    assert!(code == 2 && err.contains("--by: expected policy, action"), "{err}");
    let mut command = tollhouse();
    let ran = run(command.args(["report", "--audit", ".", "--since", "soon"]));
    assert!(ran.code == 2 && ran.err.contains("--since: expected a span"), "{ran:?}");
}
