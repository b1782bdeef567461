//! How does a person read it in a chat? As Slack's incoming webhooks take it: a line of text, and blocks.
//!
//! SECURITY: everything is plain text, so nothing that an agent wrote becomes a link, a mention or a bold
//! word; the agent's own words come last and say whose they are. The one link is ours, and only opens the page.

use serde_json::{Value, json};

use super::Notify;
use crate::redact;
use crate::store::{Hold, Letter, News, Record};

/// BOUND: Slack takes 3,000 characters a text, 150 in a heading.
const HEADING_CHARS_MAX: usize = 150;

pub(super) fn body(notify: &Notify, record: &Record, letter: &Letter) -> Value {
    let about = &record.about;
    let what = match letter.news {
        News::Held => "Approval needed",
        News::Reminded => "Still waits for approval",
        News::Escalated => "Passed on for approval",
        News::Answered => "Answered",
        News::Settled => "Done",
    };
    let heading = match about.amount {
        Some(amount) => format!("{what}: {amount}"),
        None => format!("{what}: {}", about.action),
    };
    // SECURITY: the summary is our sentence; what stands in it may be somebody else's.
    let text = format!("{what}: {}", tame(&redact::text(&about.summary)));
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(&redact::bounded(&heading, HEADING_CHARS_MAX)) }),
        json!({ "type": "section", "text": plain(&tame(&redact::text(&about.summary))) }),
    ];
    if let Some(hold) = &record.hold {
        blocks.push(json!({ "type": "section", "fields": fields(record, hold) }));
    }
    if let Some(reason) = &about.said.reason {
        let words = format!("The agent says: {}", tame(&redact::text(reason)));
        blocks.push(json!({ "type": "context", "elements": [plain(&words)] }));
    }
    blocks.push(match notify.link(record.op) {
        Some(url) => json!({
            "type": "actions",
            "elements": [{
                "type": "button", "text": plain("Look at it"), "url": url,
                "action_id": "tollhouse.open",
            }],
        }),
        None => json!({
            "type": "context",
            "elements": [plain(&format!("tollhouse holds show {}", record.op))],
        }),
    });
    // Slack reads `text` as its markup unless it is told not to, and shows what is behind a link.
    json!({
        "text": text, "mrkdwn": false, "unfurl_links": false, "unfurl_media": false,
        "blocks": blocks,
    })
}

fn fields(record: &Record, hold: &Hold) -> Vec<Value> {
    let why: Vec<String> = hold.reasons.iter().map(|r| redact::text(&r.why)).collect();
    let mut fields = vec![
        format!("Why it waits\n{}", tame(&why.join("; "))),
        format!("Queue\n{}", tame(&hold.queue)),
        format!("Expires\n{}", hold.deadline),
        format!("Agent\n{}", tame(&redact::text(&record.about.caller.agent))),
    ];
    if hold.needs.approvers > 1 {
        fields.push(format!("Approvals\n{} of {}", hold.yes.len(), hold.needs.approvers));
    }
    if let Some(from) = hold.passed.last() {
        fields.push(format!("Passed on from\n{}", tame(from)));
    }
    fields.iter().map(|text| plain(text)).collect()
}

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

/// Slack's three characters are written out (so `<!channel>` and `<url|text>` are nothing), and what some
/// client would make a link of is none.
fn tame(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace("://", ":/ /")
}
