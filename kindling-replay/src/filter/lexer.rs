//! Text to tokens.

use std::ops::Range;

use super::error::Trouble;

/// A token with its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
    Compare(Comparison),
    /// Anything without quotes: a field, a verb, a value. Which of them, its place says.
    Word(String),
    /// Text in quotes, without them.
    Quoted(String),
    End,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Comparison {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::Greater => ">",
            Comparison::AtLeast => ">=",
        }
    }
}

/// Longer signs before those that they begin with.
const SIGNS: [(&str, TokenKind); 12] = [
    ("==", TokenKind::Compare(Comparison::Equal)),
    ("!=", TokenKind::Compare(Comparison::NotEqual)),
    ("<=", TokenKind::Compare(Comparison::AtMost)),
    (">=", TokenKind::Compare(Comparison::AtLeast)),
    ("<", TokenKind::Compare(Comparison::Less)),
    (">", TokenKind::Compare(Comparison::Greater)),
    ("&&", TokenKind::And),
    ("||", TokenKind::Or),
    ("!", TokenKind::Not),
    ("(", TokenKind::Open),
    (")", TokenKind::Close),
    (",", TokenKind::Comma),
];

/// The tokens of a text, the end included.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, Trouble> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = token(text.get(at..).unwrap_or_default(), first, at)?;
        tokens.push(Token {
            kind,
            span: at..at + length,
        });
        at += length;
    }
    tokens.push(Token {
        kind: TokenKind::End,
        span: text.len()..text.len(),
    });
    Ok(tokens)
}

/// The first token of `rest`, which begins at byte `at` with `first`, and its length.
fn token(rest: &str, first: char, at: usize) -> Result<(TokenKind, usize), Trouble> {
    if matches!(first, '"' | '\'') {
        return quoted(rest, first, at);
    }
    for (sign, kind) in SIGNS {
        if rest.starts_with(sign) {
            return Ok((kind, sign.len()));
        }
    }
    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let word = match rest.get(..length) {
        Some(word) if !word.is_empty() => word,
        _ => return Err(stray(first, at)),
    };
    let kind = match word {
        "and" => TokenKind::And,
        "or" => TokenKind::Or,
        "not" => TokenKind::Not,
        word => TokenKind::Word(word.to_owned()),
    };
    Ok((kind, length))
}

/// Characters of names, numbers with units, paths, addresses, globs and times.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_./:-*?@+%~".contains(c)
}

fn stray(c: char, at: usize) -> Trouble {
    let span = at..at + c.len_utf8();
    let shown = c.escape_default();
    let trouble = Trouble::new(&span, format!("unexpected `{shown}`"));
    match c {
        '=' => trouble.with_hint("equality is `==`"),
        '&' => trouble.with_hint("write `and` or `&&`"),
        '|' => trouble.with_hint("write `or` or `||`"),
        _ => trouble.with_hint("text with such characters goes between quotes: \"…\""),
    }
}

/// Text in quotes: `\"`, `\'`, `\\`, `\n`, `\r`, `\t` and `\0` stand for one character; any other
/// backslash stays, so that regular expressions need no second one.
fn quoted(rest: &str, quote: char, at: usize) -> Result<(TokenKind, usize), Trouble> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((TokenKind::Quoted(text), index + c.len_utf8())),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, 't')) => text.push('\t'),
                Some((_, '0')) => text.push('\0'),
                Some((_, c @ ('"' | '\'' | '\\'))) => text.push(c),
                Some((_, c)) => text.extend(['\\', c]),
                None => break,
            },
            c => text.push(c),
        }
    }
    let span = at..at + rest.len();
    Err(Trouble::new(
        &span,
        format!("text that begins with {quote} does not end with it"),
    ))
}
