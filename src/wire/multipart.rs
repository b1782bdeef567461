//! What are the parts of this multipart form called, and is there only one way to cut it?
//!
//! A file's content stands as its SHA-256: two files are two values, and no judgement reads one.
//! Never accepts a preamble, an epilogue, a folded line or a second way to write a name.

use ring::digest::{SHA256, digest};

use super::Flaw;
use super::form::Members;
use crate::bounds::PAIRS_MAX;
use crate::value::Value;

/// Reads the parts into a map: a field's text, a file's `sha256:..`.
pub fn read(body: &[u8], boundary: &str) -> Result<Value, Flaw> {
    let delimiter = delimiter(boundary)?;
    let mut parts = Parts { rest: body, delimiter: delimiter.as_bytes() };
    let mut root = Members::default();
    let mut count = 0_usize;
    if !parts.begin()? {
        return root.into_value();
    }
    loop {
        count = count.saturating_add(1);
        if count > PAIRS_MAX {
            return Err(Flaw::too_large(format!("expected at most {PAIRS_MAX} parts")));
        }
        let (part, more) = parts.next()?;
        let (name, value) = field(part)?;
        root.add(name, value)?;
        if !more {
            return root.into_value();
        }
    }
}

/// RFC 2046 s5.1.1: 1 to 70 characters; here without those that need quotes or end in a blank.
fn delimiter(boundary: &str) -> Result<String, Flaw> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    if boundary.is_empty() || boundary.len() > 70 || !boundary.bytes().all(plain) {
        return Err(Flaw::malformed("expected a boundary of 1 to 70 plain characters"));
    }
    Ok(format!("--{boundary}"))
}

struct Parts<'b> {
    rest: &'b [u8],
    delimiter: &'b [u8],
}

impl<'b> Parts<'b> {
    /// Takes the first delimiter; whether a part follows.
    fn begin(&mut self) -> Result<bool, Flaw> {
        let behind = self.rest.strip_prefix(self.delimiter);
        self.rest = behind.ok_or_else(|| Flaw::ambiguous("expected no preamble"))?;
        self.line_end()
    }

    /// The bytes up to the next delimiter, and whether another part follows it.
    fn next(&mut self) -> Result<(&'b [u8], bool), Flaw> {
        let at = memchr::memmem::find(self.rest, self.delimiter)
            .ok_or_else(|| Flaw::malformed("expected the closing boundary"))?;
        let (content, behind) = self.rest.split_at(at);
        self.rest = behind.get(self.delimiter.len()..).unwrap_or(&[]);
        // SECURITY: a boundary behind a bare LF, or inside a line, ends a part for some readers.
        let content = content
            .strip_suffix(b"\r\n")
            .ok_or_else(|| Flaw::ambiguous("expected boundaries on lines of their own"))?;
        Ok((content, self.line_end()?))
    }

    /// The end of a delimiter's line: CRLF, or `--` at the end of the body.
    fn line_end(&mut self) -> Result<bool, Flaw> {
        if let Some(behind) = self.rest.strip_prefix(b"\r\n") {
            self.rest = behind;
            return Ok(true);
        }
        match self.rest {
            b"--" | b"--\r\n" => Ok(false),
            _ => Err(Flaw::ambiguous("expected boundaries on lines of their own, and no epilogue")),
        }
    }
}

/// A part's name and what stands for its content.
fn field(part: &[u8]) -> Result<(&str, Box<str>), Flaw> {
    let end = memchr::memmem::find(part, b"\r\n\r\n")
        .ok_or_else(|| Flaw::malformed("expected a blank line behind a part's header"))?;
    let (header, behind) = part.split_at(end);
    let content = behind.get(4..).unwrap_or(&[]);
    let header = std::str::from_utf8(header).map_err(|_| Flaw::malformed("expected UTF-8"))?;
    let mut disposition = None;
    let mut typed = false;
    for line in header.split("\r\n") {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("content-disposition") && disposition.is_none() {
            disposition = Some(value);
        } else if name.eq_ignore_ascii_case("content-type") && !typed {
            typed = true;
        } else {
            let expected = "expected Content-Disposition and at most Content-Type, once, in a part";
            return Err(Flaw::ambiguous(expected));
        }
        if value.contains(char::is_control) {
            return Err(Flaw::malformed("expected no control character in a part's header"));
        }
    }
    let (name, file) = names(disposition.unwrap_or(""))?;
    if file {
        let hash = digest(&SHA256, content);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok((name, format!("sha256:{hex}").into()));
    }
    match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') => Ok((name, text.into())),
        Ok(_) | Err(_) => Err(Flaw::malformed("expected UTF-8 without NUL").within(name)),
    }
}

/// `form-data; name="a"; filename="b"` (RFC 7578 s4.2): the name, and whether it is a file.
fn names(disposition: &str) -> Result<(&str, bool), Flaw> {
    let wrong =
        || Flaw::ambiguous("expected `form-data; name=\"..\"`, at most with `; filename=\"..\"`");
    let rest = disposition.strip_prefix("form-data; name=\"").ok_or_else(wrong)?;
    let (name, rest) = rest.split_once('"').ok_or_else(wrong)?;
    // SECURITY: `\"`, `%22` and RFC 2231 are read differently by every library.
    if name.is_empty() || name.contains(['\\', '%']) {
        return Err(wrong());
    }
    if rest.is_empty() {
        return Ok((name, false));
    }
    let file = rest.strip_prefix("; filename=\"").and_then(|f| f.strip_suffix('"'));
    match file {
        Some(file) if !file.contains(['"', '\\']) => Ok((name, true)),
        Some(_) | None => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sort::{self, Ambiguous, Malformed};
    use super::*;

    const FILE: &str = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nlogo\r\n\
        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
        Content-Type: image/png\r\n\r\n\x01\x02\r\n--b--\r\n";

    fn part(header: &str, content: &str) -> String {
        format!("--b\r\n{header}\r\n\r\n{content}\r\n--b--\r\n")
    }

    #[test]
    fn parts_become_members() {
        let text = |text: &str| Value::Text(text.into());
        let hash = "sha256:a12871fee210fb8619291eaea194581cbd2531e4b23759d225f6806923f63222";
        let expected =
            Value::Map(vec![("purpose".into(), text("logo")), ("file".into(), text(hash))]);
        assert_eq!(read(FILE.as_bytes(), "b"), Ok(expected));
        assert_eq!(read(b"--b--", "b"), Ok(Value::Map(vec![])));
        let nested = part("content-disposition: form-data; name=\"a[b]\"", "");
        let inner = Value::Map(vec![("b".into(), text(""))]);
        assert_eq!(read(nested.as_bytes(), "b"), Ok(Value::Map(vec![("a".into(), inner)])));
    }

    #[test]
    fn what_can_be_cut_two_ways_is_refused() {
        let own = "Content-Disposition: form-data; name=\"a\"";
        let twice = format!("--b\r\n{own}\r\n\r\n1\r\n{}", part(own, "2"));
        let table: Vec<(String, Sort)> = vec![
            (String::new(), Ambiguous),
            (format!("preamble\r\n{FILE}"), Ambiguous),
            (format!("{FILE}epilogue"), Ambiguous),
            (FILE.replace("\r\n", "\n"), Ambiguous),
            (FILE.replace("logo\r\n", "logo\n"), Ambiguous),
            (FILE.replace("logo", "lo--bgo"), Ambiguous),
            (FILE.replace("logo", "lo\r\n--bgo"), Ambiguous),
            (FILE.replace("--b--\r\n", ""), Malformed),
            (twice, Ambiguous),
            (part("Content-Disposition: form-data; name=\"_method\"", "DELETE"), Ambiguous),
            (part("Content-Disposition: form-data; name=a", "1"), Ambiguous),
            (part("Content-Disposition: form-data; name=\"\"", "1"), Ambiguous),
            (part("Content-Disposition: form-data; name=\"a%22b\"", "1"), Ambiguous),
            (part("Content-Disposition: form-data; name=\"a\\\"b\"", "1"), Ambiguous),
            (part("Content-Disposition: form-data; filename=\"x\"; name=\"a\"", "1"), Ambiguous),
            (
                part("Content-Disposition: form-data; name=\"a\"; filename*=utf-8''x", "1"),
                Ambiguous,
            ),
            (part("Content-Disposition: form-data; name=\"a\"; name=\"b\"", "1"), Ambiguous),
            (part("Content-Disposition: attachment; name=\"a\"", "1"), Ambiguous),
            (part("Content-Type: text/plain", "1"), Ambiguous),
            (part(&format!("{own}\r\n{own}"), "1"), Ambiguous),
            (part(&format!("{own}\r\nContent-Transfer-Encoding: base64"), "1"), Ambiguous),
            (part(&format!("{own}\r\n folded"), "1"), Ambiguous),
            (part("Content-Disposition: form-data; name=\"a\rb\"", "1"), Malformed),
            (part(own, "a\0b"), Malformed),
            (format!("--b\r\n{own}\r\n--b--\r\n"), Malformed),
        ];
        for (body, sort) in table {
            assert_eq!(read(body.as_bytes(), "b").map_err(|flaw| flaw.sort), Err(sort), "{body}");
        }
        for boundary in ["", "a b", "a\"b", &"a".repeat(71)] {
            assert_eq!(read(FILE.as_bytes(), boundary).map_err(|flaw| flaw.sort), Err(Malformed));
        }
    }
}
