//! Bytes of a message as text that can be shown on one line.

/// The longest endpoint or error that is kept, in characters.
const MAX_CHARS: usize = 120;

/// The first line of `bytes` without its end, printable: other characters are escaped, and what is
/// cut, by the recorder or here, ends in `…`.
pub fn first_line(bytes: &[u8], max_chars: usize) -> String {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut shown = String::new();
    for (count, escaped) in line.utf8_chunks().flat_map(escaped).enumerate() {
        if count == max_chars {
            shown.push('…');
            return shown;
        }
        shown.push_str(&escaped);
    }
    shown
}

/// A short field of a message, printable.
pub(super) fn field(bytes: &[u8]) -> String {
    first_line(bytes, MAX_CHARS)
}

/// The line at the start of `bytes`, without its CRLF or LF, and the bytes that it takes; `None` if
/// it does not end in `bytes`.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = bytes.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

fn escaped(chunk: std::str::Utf8Chunk<'_>) -> impl Iterator<Item = String> {
    let valid = chunk.valid().chars().map(|c| match c {
        ' ' => " ".to_owned(),
        c if c.is_control() || c.is_whitespace() => c.escape_default().to_string(),
        c => c.to_string(),
    });
    let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
    valid.collect::<Vec<_>>().into_iter().chain(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_printably() {
        let check = |bytes: &[u8], expect: &str| assert_eq!(first_line(bytes, 8), expect);
        check(b"GET /\r\nHost: a", "GET /");
        check(b"a\tb\x00\xff", "a\\tb\\u{0}\\xff");
        check("grün".as_bytes(), "grün");
        check(b"123456789", "12345678…");
        check(b"12345678", "12345678");
        check(b"", "");
    }
}
