//! What is wrong with a condition, and where.

use std::{fmt, ops::Range};

/// What is wrong with a part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The bytes of the text that it is about.
    pub(super) span: Range<usize>,
    /// What was found, and what expected.
    pub(super) what: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
}

impl Trouble {
    pub(super) fn new(span: &Range<usize>, what: impl Into<String>) -> Self {
        Self {
            span: span.clone(),
            what: what.into(),
            hint: None,
        }
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// A condition that makes no sense: what is wrong, with the place in the text under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The column of the first character that it is about, from 1.
    pub column: usize,
    text: String,
    width: usize,
    what: String,
    hint: Option<String>,
}

impl FilterError {
    pub(super) fn new(text: &str, trouble: Trouble) -> Self {
        let Trouble { span, what, hint } = trouble;
        let chars = |part: Option<&str>| part.map_or(0, |part| part.chars().count());
        Self {
            column: chars(text.get(..span.start)) + 1,
            // One column for each character, so that the marks stand under what they are about.
            text: text
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect(),
            width: chars(text.get(span)).max(1),
            what,
            hint,
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            column,
            text,
            width,
            what,
            hint,
        } = self;
        writeln!(f, "--where, column {column}: {what}")?;
        writeln!(f, "  {text}")?;
        write!(f, "  {}{}", " ".repeat(column - 1), "^".repeat(*width))?;
        match hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FilterError {}
