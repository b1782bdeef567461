//! How is a name written into a scope? As it is, but for what would end a word.

/// A name as one word: blanks, control characters and per cent signs as `%20`; nothing as `%`.
pub fn escaped(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let mut word = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter == '%' || letter.is_whitespace() || letter.is_control() {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                word.push_str(&format!("%{byte:02x}"));
            }
        } else {
            word.push(letter);
        }
    }
    word
}

/// The name that a word says.
pub(super) fn read(word: &str) -> Result<Box<str>, String> {
    if word == "%" {
        return Ok("".into());
    }
    let fault = || format!("`{word}` is no name: a per cent sign in it is written `%25`");
    let mut pieces = word.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).ok_or_else(fault)?;
        // A sign before the digit would read as a number.
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| hex);
        bytes.push(byte.ok_or_else(fault)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map(String::into_boxed_str).map_err(|_| fault())
}
