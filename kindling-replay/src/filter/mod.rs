//! The language of `--where`: a condition on events, in the manner of sysdig and Wireshark.
//!
//! ```text
//! text → lexer → tokens → parser → syntax → check → expr ─┬─ of one event: yes or no
//!                                           (fields,      └─ of many (a member, a thread): yes, no
//!                                            types)          or perhaps, so that they can be skipped
//! ```
//!
//! This module knows fields and values, not captures: [`crate::model::select`] says what the fields
//! of an event are, and `docs/FILTERS.md` what a condition means for each command.

use std::fmt;

use serde::{Serialize, Serializer};

mod check;
mod error;
mod expr;
mod facts;
mod field;
mod help;
mod lexer;
mod literal;
mod parser;

pub use error::FilterError;
pub use facts::{Fact, Facts};
pub use field::{EventKind, FIELDS, Field, FieldSpec};
pub use help::{help, markdown};

use expr::Expr;
use parser::Syntax;

/// A condition on events, checked.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    syntax: Syntax,
    expr: Expr,
}

impl Filter {
    /// Reads and checks a condition.
    ///
    /// # Errors
    /// [`FilterError`], with the place in the text.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let read = || {
            let syntax = parser::parse(text)?;
            let expr = check::check(&syntax, &|wall_ns| wall_ns)?;
            Ok((syntax, expr))
        };
        let (syntax, expr) = read().map_err(|trouble| FilterError::new(text, trouble))?;
        Ok(Self {
            text: text.to_owned(),
            syntax,
            expr,
        })
    }

    /// Whether it holds; `None` if that is true of some of the events that the facts speak of, and
    /// perhaps not of others.
    pub fn judge(&self, facts: &impl Facts) -> Option<bool> {
        self.expr.judge(facts)
    }

    /// Whether it holds for an event whose facts are all known.
    pub fn holds(&self, facts: &impl Facts) -> bool {
        self.judge(facts) == Some(true)
    }

    /// Whether it can hold for any event of this kind.
    pub fn may_hold(&self, kind: EventKind) -> bool {
        self.judge(&facts::OfKind(kind)) != Some(false)
    }

    /// Whether it asks for what only events of this kind have.
    pub fn is_about(&self, kind: EventKind) -> bool {
        self.expr.names(&|field| field.spec().of == [kind])
    }

    /// The earliest and the latest moment, since the start of the capture, that it allows by itself:
    /// the bounds of `ts` that everything else is joined to with `and`.
    pub fn bounds(&self) -> (Option<i64>, Option<i64>) {
        self.expr.bounds()
    }

    /// The same condition, with wall times replaced by what `offset_ns` makes of them: nanoseconds
    /// since the start of the capture.
    ///
    /// # Errors
    /// None that [`Filter::parse`] did not have.
    pub fn with_wall_times(self, offset_ns: &dyn Fn(i64) -> i64) -> Result<Self, FilterError> {
        let expr = check::check(&self.syntax, offset_ns)
            .map_err(|trouble| FilterError::new(&self.text, trouble))?;
        Ok(Self { expr, ..self })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
