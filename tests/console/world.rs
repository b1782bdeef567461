//! A real Tollhouse with the people of two tenants.

use tempfile::TempDir;

use crate::support::agent::{Call, Reply};
use crate::support::house::{self, House, run};
use crate::support::shop::{Play, Shop};
use crate::support::tollhouse;

use super::browser::{Browser, From};

/// A person or machine with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Every role, every tenant.
    Ops,
    /// Every role, within `acme`.
    Acme,
    /// Every role, within `other`.
    Other,
    /// No role, every tenant.
    Viewer,
    /// The operator's role alone, within `acme`; answers no holds.
    Bot,
    /// The queue's role alone.
    Finance,
}

impl Who {
    pub const ALL: [Self; 6] =
        [Self::Ops, Self::Acme, Self::Other, Self::Viewer, Self::Bot, Self::Finance];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ops => "ops",
            Self::Acme => "acme-ops",
            Self::Other => "other-ops",
            Self::Viewer => "viewer",
            Self::Bot => "bot",
            Self::Finance => "finance",
        }
    }

    pub fn token(self) -> String {
        format!("{}-token-that-nobody-ever-guesses", self.name())
    }

    fn line(self) -> String {
        let (roles, more) = match self {
            Self::Ops => ("[finance, operator]", ", approves: true"),
            Self::Acme => ("[finance, operator]", ", approves: true, tenants: [acme]"),
            Self::Other => ("[finance, operator]", ", approves: true, tenants: [other]"),
            Self::Viewer => ("[]", ""),
            Self::Bot => ("[operator]", ", tenants: [acme]"),
            Self::Finance => ("[finance]", ", approves: true"),
        };
        let name = self.name();
        format!("    - {{ name: {name}, roles: {roles}, token: file:{name}.token{more} }}\n")
    }
}

pub struct World {
    pub shop: Shop,
    pub house: House,
    /// The console.
    pub url: String,
    /// A token of `acme`'s agent.
    agent: String,
}

impl World {
    pub fn open() -> Self {
        Self::with("")
    }

    /// With further lines under `operator:`.
    pub fn with(more: &str) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), more, 0)
    }

    /// With further sections.
    pub fn ruled(sections: &str) -> Self {
        Self::made(tempfile::tempdir().unwrap(), "", (sections, 0))
    }

    /// The same in a folder with whatever the lines name, and on that port.
    pub fn in_folder(home: TempDir, more: &str, port: u16) -> Self {
        Self::made(home, more, ("", port))
    }

    fn made(home: TempDir, more: &str, (sections, port): (&str, u16)) -> Self {
        let shop = Shop::open();
        for who in Who::ALL {
            let file = home.path().join(format!("{}.token", who.name()));
            std::fs::write(file, who.token()).unwrap();
        }
        let tokens: String = Who::ALL.iter().map(|who| who.line()).collect();
        let text = house::configuration(&shop.url(), "");
        let own = text.lines().find(|line| line.starts_with("  tokens:")).unwrap();
        let text = text.replace(own, &format!("{more}  tokens:\n{tokens}"));
        // The first effect brings it near.
        let budget =
            "\n    budget: { per: tenant, within: 1h, count: 1, over: allow, alert: 50% }\n";
        let usual = "\n    duplicates: { alike: allow }\n";
        let text = text.replacen(usual, &format!("{usual}{}", &budget[1..]), 1);
        let own = match more.contains("  listen: ") {
            true => String::new(),
            false => format!("\n  listen: 127.0.0.1:{port}"),
        };
        let text = text.replace("\n  listen: 127.0.0.1:0", &own);
        // One customer has a hold for each route and person here.
        let text = text + "holds: { per_agent: 1000, per_customer: 1000 }\n" + sections;
        let house = House::written(home, &text, "");
        let url = house.operator().0;
        let agent = token(&house, "acme");
        Self { shop, house, url, agent }
    }

    /// A refund of `acme`'s agent.
    pub fn refund(&self, order: &str, amount: &str) -> Reply {
        let call = house::refund(order, amount, order).bearer(&self.agent);
        call.send(&self.house.agents).unwrap()
    }

    /// A hold of `acme`.
    pub fn held(&self, order: &str) -> String {
        let held = self.refund(order, "450.00");
        assert_eq!(held.code(), "approval_required", "{held:?}");
        held.operation()
    }

    /// An operation of `acme` of which nobody knows what became.
    pub fn unknown(&self, order: &str) -> String {
        self.shop.play(Play::Drop);
        let lost = self.refund(order, "25.00");
        assert_eq!(lost.code(), "outcome_unknown", "{lost:?}");
        self.shop.play(Play::Answer);
        lost.operation()
    }

    /// A freeze, as `ops`.
    pub fn frozen(&self, scope: &[&str]) -> String {
        let asked = serde_json::json!({ "scope": scope, "reason": "a reason of ours" });
        let reply = self.ask(Who::Ops, Call::new("POST", "/v1/freezes").json(&asked));
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    /// A revocation of a tenant's tokens.
    pub fn revoked(&self, tenant: &str) -> String {
        let asked = serde_json::json!({ "tenant": tenant, "agent": "nobody", "reason": "lost" });
        let reply = self.ask(Who::Ops, Call::new("POST", "/v1/revocations").json(&asked));
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    /// The stylesheet's name.
    pub fn asset(&self) -> String {
        let page = Call::new("GET", "/sign-in").send(&self.url).unwrap().body;
        let name = page.split("href=\"/assets/").nth(1).unwrap_or_else(|| panic!("{page}"));
        name.split('"').next().unwrap().to_owned()
    }

    /// The head of an answer that has no end.
    pub fn head_of(&self, call: &Call<'_>) -> Reply {
        use std::io::{Read, Write};
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        stream.write_all(&call.bytes(address, "close")).unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        // Its body is what comes meanwhile; a client that reads by hand needs a length.
        let head = String::from_utf8(bytes).unwrap();
        let head = head.replacen("\r\n", "\r\ncontent-length: 0\r\n", 1);
        crate::support::agent::parse(head.as_bytes()).unwrap()
    }

    /// Asks the console as somebody.
    pub fn ask(&self, who: Who, call: Call<'_>) -> Reply {
        call.bearer(&who.token()).send(&self.url).unwrap()
    }

    /// Signs a browser in with somebody's token.
    pub fn browser(&self, who: Who) -> Browser {
        let mut browser = Browser::default();
        let fields = [("token", who.token()), ("next", "/v1/holds".to_owned())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, &**v)).collect();
        let reply = browser.form(&self.url, "/sign-in", &fields, From::Same);
        assert_eq!((reply.status, reply.header("location")), (303, Some("/v1/holds")), "{reply:?}");
        browser
    }

    /// The records of the log of that kind.
    pub fn records(&self, kind: &str) -> Vec<serde_json::Value> {
        let reply = self.ask(Who::Ops, Call::new("GET", "/v1/records?last=1000"));
        let all: Vec<serde_json::Value> = serde_json::from_str(&reply.body).unwrap();
        all.into_iter().filter(|line| line["kind"] == kind).collect()
    }
}

fn token(house: &House, tenant: &str) -> String {
    let words = ["token", "--agent", "support-bot", "--customer", "ann", "--tenant", tenant];
    let ran = run(tollhouse().args(words).arg("--state").arg(house.state()));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out.trim().to_owned()
}
