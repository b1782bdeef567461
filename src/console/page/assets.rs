//! What does a page load besides itself? One style, one script, both of this binary.
//!
//! Their names carry a digest of what is in them: they may be kept for a year, and a new binary's are other
//! names. Nothing is ever loaded from anywhere else.

use std::sync::LazyLock;

/// Every drawing, once in each page.
pub const SPRITE: &str = include_str!("assets/sprite.svg");
const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");
const MARK: &str = include_str!("assets/mark.svg");

/// A file of the console.
#[derive(Debug)]
pub struct Asset {
    /// Its name under `/assets/`.
    pub name: String,
    /// Its content type.
    pub kind: &'static str,
    /// What is in it.
    pub body: &'static str,
}

static ALL: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        asset("console", "css", ("text/css; charset=utf-8", STYLE)),
        asset("console", "js", ("text/javascript; charset=utf-8", SCRIPT)),
        asset("mark", "svg", ("image/svg+xml", MARK)),
    ]
});

fn asset(stem: &str, ending: &str, (kind, body): (&'static str, &'static str)) -> Asset {
    let hash = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let short: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Asset { name: format!("{stem}.{short}.{ending}"), kind, body }
}

/// The file of that name.
pub fn find(name: &str) -> Option<&'static Asset> {
    ALL.iter().find(|asset| asset.name == name)
}

/// The names of style, script and mark.
pub fn names() -> [&'static str; 3] {
    ALL.each_ref().map(|asset| asset.name.as_str())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn each_file_is_found_by_its_own_name_only() {
        for (name, ending) in names().into_iter().zip(["css", "js", "svg"]) {
            let asset = find(name).unwrap();
            assert!(!asset.body.is_empty() && name.ends_with(ending), "{name}");
        }
        for other in ["console.css", "", "../sprite.svg", "console.0000000000000000.js"] {
            assert!(find(other).is_none(), "{other}");
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for asset in ALL.iter() {
            for far in ["http:", "https:", "//cdn", "@import", "url(\"", "eval(", "innerHTML"] {
                // The name of a language is no address.
                let body = asset.body.replace("http://www.w3.org/2000/svg", "");
                assert!(!body.contains(far), "{}: {far}", asset.name);
            }
        }
    }
}
