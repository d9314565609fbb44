//! Tokens to syntax: what is joined with what, before any field or value is looked at.
//!
//! ```text
//! any   = all { ("or" | "||") all }
//! all   = one { ("and" | "&&") one }
//! one   = ("not" | "!") one | "(" any ")" | test
//! test  = FIELD [ COMPARISON VALUE | "in" "(" VALUE { "," VALUE } ")"
//!               | ("contains" | "glob" | "matches") VALUE | "exists" ]
//! ```

use std::ops::Range;

use super::{
    error::Trouble,
    lexer::{self, Comparison, Token, TokenKind},
};

/// The deepest nesting of parentheses and `not`: more is no question but an attack on the stack.
const DEEPEST: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Syntax {
    All(Vec<Syntax>),
    Any(Vec<Syntax>),
    Not(Box<Syntax>),
    Test(Spanned, Verb),
}

/// What is asked of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verb {
    Exists,
    Compare(Comparison, Spanned),
    In(Vec<Spanned>),
    Contains(Spanned),
    Glob(Spanned),
    Matches(Spanned),
}

/// A word or a quoted text with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spanned {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

pub(super) fn parse(text: &str) -> Result<Syntax, Trouble> {
    let mut parser = Parser {
        tokens: lexer::lex(text)?,
        at: 0,
    };
    let syntax = parser.any(0)?;
    match parser.peek() {
        TokenKind::End => Ok(syntax),
        TokenKind::Close => Err(parser.unexpected("this `)` closes nothing: expected the end")),
        _ => Err(parser.expected("`and`, `or` or the end")),
    }
}

struct Parser {
    /// Never empty: the last one is the end.
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn any(&mut self, depth: usize) -> Result<Syntax, Trouble> {
        let mut parts = vec![self.all(depth)?];
        while self.take(&TokenKind::Or) {
            parts.push(self.all(depth)?);
        }
        Ok(joined(parts, Syntax::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Syntax, Trouble> {
        let mut parts = vec![self.one(depth)?];
        while self.take(&TokenKind::And) {
            parts.push(self.one(depth)?);
        }
        Ok(joined(parts, Syntax::All))
    }

    fn one(&mut self, depth: usize) -> Result<Syntax, Trouble> {
        if depth > DEEPEST {
            let what = format!("more than {DEEPEST} levels of parentheses and `not`");
            return Err(self.unexpected(what));
        }
        if self.take(&TokenKind::Not) {
            return Ok(Syntax::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take(&TokenKind::Open) {
            let inner = self.any(depth + 1)?;
            return match self.take(&TokenKind::Close) {
                true => Ok(inner),
                false => Err(self.expected("`and`, `or` or `)`")),
            };
        }
        match self.peek() {
            TokenKind::Word(_) => self.test(),
            _ => Err(self.expected("a field, `not` or `(`")),
        }
    }

    fn test(&mut self) -> Result<Syntax, Trouble> {
        let field = self.value("a field")?;
        let verb = match self.peek().clone() {
            TokenKind::Compare(comparison) => {
                self.at += 1;
                Verb::Compare(comparison, self.value("a value")?)
            }
            TokenKind::Word(word) => {
                let verb: fn(Spanned) -> Verb = match word.as_str() {
                    "exists" => {
                        self.at += 1;
                        return Ok(Syntax::Test(field, Verb::Exists));
                    }
                    "in" => {
                        self.at += 1;
                        return Ok(Syntax::Test(field, Verb::In(self.list()?)));
                    }
                    "contains" => Verb::Contains,
                    "glob" => Verb::Glob,
                    "matches" => Verb::Matches,
                    _ => {
                        return Err(self.expected(
                            "a comparison (== != < <= > >=), `in`, `contains`, `glob`, `matches`, \
                             `exists`, `and` or `or`",
                        ));
                    }
                };
                self.at += 1;
                verb(self.value("a value")?)
            }
            _ => Verb::Exists,
        };
        Ok(Syntax::Test(field, verb))
    }

    fn list(&mut self) -> Result<Vec<Spanned>, Trouble> {
        if !self.take(&TokenKind::Open) {
            return Err(self.expected("`(` and a list of values"));
        }
        let mut values = vec![self.value("a value")?];
        while self.take(&TokenKind::Comma) {
            values.push(self.value("a value")?);
        }
        match self.take(&TokenKind::Close) {
            true => Ok(values),
            false => Err(self.expected("`,` or `)`")),
        }
    }

    fn value(&mut self, what: &str) -> Result<Spanned, Trouble> {
        match self.tokens.get(self.at) {
            Some(Token {
                kind: TokenKind::Word(text) | TokenKind::Quoted(text),
                span,
            }) => {
                let (text, span) = (text.clone(), span.clone());
                self.at += 1;
                Ok(Spanned { text, span })
            }
            _ => Err(self.expected(what)),
        }
    }

    fn peek(&self) -> &TokenKind {
        self.tokens
            .get(self.at)
            .map_or(&TokenKind::End, |token| &token.kind)
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let there = self.peek() == kind;
        self.at += usize::from(there);
        there
    }

    fn expected(&self, what: &str) -> Trouble {
        let found = match self.peek() {
            TokenKind::End => "the end".to_owned(),
            TokenKind::Open => "`(`".to_owned(),
            TokenKind::Close => "`)`".to_owned(),
            TokenKind::Comma => "`,`".to_owned(),
            TokenKind::And => "`and`".to_owned(),
            TokenKind::Or => "`or`".to_owned(),
            TokenKind::Not => "`not`".to_owned(),
            TokenKind::Compare(comparison) => format!("`{}`", comparison.sign()),
            TokenKind::Word(word) => format!("`{word}`"),
            TokenKind::Quoted(_) => "text in quotes".to_owned(),
        };
        self.unexpected(format!("expected {what}, found {found}"))
    }

    fn unexpected(&self, what: impl Into<String>) -> Trouble {
        let span = self
            .tokens
            .get(self.at)
            .map_or(0..0, |token| token.span.clone());
        Trouble::new(&span, what)
    }
}

/// One part stands for itself.
fn joined(mut parts: Vec<Syntax>, join: fn(Vec<Syntax>) -> Syntax) -> Syntax {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}
