//! A browser as far as signing in needs one: it keeps cookies by host and port and their rules, follows
//! links and sends forms, and says from where it comes.

use std::collections::BTreeMap;

use crate::support::agent::{Call, Reply};

/// Who made it load an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The address bar.
    Nowhere,
    /// A page of the same origin.
    Same,
    /// A page of another site.
    Other,
}

#[derive(Debug, Clone)]
struct Cookie {
    value: String,
    same_site: String,
}

#[derive(Debug, Default)]
pub struct Browser {
    /// By origin and name. (Browsers do not tell ports apart; the consoles' names do.)
    jar: BTreeMap<(String, String), Cookie>,
}

impl Browser {
    /// The value of a cookie whose name starts so.
    pub fn cookie(&self, url: &str, start: &str) -> Option<(String, String)> {
        let found = self.jar.iter().find(|((at, name), _)| at == url && name.starts_with(start));
        found.map(|((_, name), cookie)| (name.clone(), cookie.value.clone()))
    }

    /// Puts one there, as an attacker beside the console would.
    pub fn put(&mut self, url: &str, name: &str, value: &str) {
        let cookie = Cookie { value: value.to_owned(), same_site: "Strict".to_owned() };
        self.jar.insert((url.to_owned(), name.to_owned()), cookie);
    }

    /// Loads a target of `url`.
    pub fn get(&mut self, url: &str, target: &str, from: From) -> Reply {
        self.send(url, Call::new("GET", target), from)
    }

    /// Sends a form.
    pub fn form(&mut self, url: &str, target: &str, fields: &[(&str, &str)], from: From) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut call = Call::new("POST", target);
        call.body = body;
        let call = call.header("Content-Type", "application/x-www-form-urlencoded");
        let origin = if from == From::Same { url } else { "https://evil.example" };
        self.send(url, call.header("Origin", origin), from)
    }

    /// Sends whatever.
    pub fn send(&mut self, url: &str, mut call: Call<'_>, from: From) -> Reply {
        let site = match from {
            From::Nowhere => "none",
            From::Same => "same-origin",
            From::Other => "cross-site",
        };
        let safe = call.method == "GET";
        // RFC 6265bis s5.8.3: Strict from here alone, Lax with a link from anywhere.
        let goes = |cookie: &Cookie| match &*cookie.same_site {
            "Strict" => from != From::Other,
            "Lax" => from != From::Other || safe,
            _ => true,
        };
        let own = self.jar.iter().filter(|((at, _), cookie)| at == url && goes(cookie));
        let line: Vec<String> =
            own.map(|((_, name), cookie)| format!("{name}={}", cookie.value)).collect();
        if !line.is_empty() {
            call = call.header("Cookie", &line.join("; "));
        }
        let call = call.header("Sec-Fetch-Site", site).header("Sec-Fetch-Mode", "navigate");
        let reply = call.send(url).unwrap();
        for (_, set) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.keep(url, set);
        }
        reply
    }

    fn keep(&mut self, url: &str, set: &str) {
        let mut parts = set.split(';').map(str::trim);
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let rest: Vec<(String, String)> = parts
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let said = |wanted: &str| rest.iter().find(|(name, _)| name == wanted).map(|(_, v)| &**v);
        let key = (url.to_owned(), name.to_owned());
        let over = said("max-age") == Some("0")
            || said("expires").is_some_and(|at| at.contains("1970"))
            || value.is_empty();
        if over {
            self.jar.remove(&key);
            return;
        }
        let same_site = said("samesite").unwrap_or("Lax").to_owned();
        // oidc-provider writes `samesite=lax`.
        let same_site = match &*same_site.to_ascii_lowercase() {
            "strict" => "Strict",
            "lax" => "Lax",
            _ => "None",
        };
        let cookie = Cookie { value: value.to_owned(), same_site: same_site.to_owned() };
        self.jar.insert(key, cookie);
    }
}

/// Origin and target of an address.
pub fn split(address: &str) -> (String, String) {
    let rest = address.strip_prefix("http://").unwrap_or_else(|| panic!("{address}"));
    let at = rest.find('/').unwrap_or(rest.len());
    let target = if at == rest.len() { "/" } else { &rest[at..] };
    (format!("http://{}", &rest[..at]), target.to_owned())
}
