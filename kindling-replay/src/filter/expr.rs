//! A checked condition, and whether it holds.
//!
//! Of events that differ, a test may hold for some and not for others. Such an answer is `None`, and
//! goes through `and`, `or` and `not` as in Kleene's logic of three values.

use regex::bytes::Regex;

use super::{
    facts::{Fact, Facts},
    field::Field,
    literal::{EVERYTHING, Network, Range},
};

#[derive(Debug, Clone)]
pub(super) enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Test(Test),
}

/// What is asked of a field. An absent field passes no test, not even that of being different.
#[derive(Debug, Clone)]
pub(super) struct Test {
    pub(super) field: Field,
    pub(super) is: Matcher,
    /// Whether the value is to be there and not be so.
    pub(super) not: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Matcher {
    Anything,
    /// In one of these ranges.
    Within(Vec<Range>),
    /// One of these texts.
    Equals(Vec<String>),
    Networks(Vec<Network>),
    Contains(String),
    Matches(Regex),
}

impl Expr {
    pub(super) fn judge(&self, facts: &impl Facts) -> Option<bool> {
        match self {
            Expr::All(parts) => joined(parts, facts, false),
            Expr::Any(parts) => joined(parts, facts, true),
            Expr::Not(part) => part.judge(facts).map(|holds| !holds),
            Expr::Test(test) => test.judge(&facts.fact(test.field)),
        }
    }

    /// Whether one of its tests is of a field that passes `chosen`.
    pub(super) fn names(&self, chosen: &impl Fn(Field) -> bool) -> bool {
        match self {
            Expr::All(parts) | Expr::Any(parts) => parts.iter().any(|part| part.names(chosen)),
            Expr::Not(part) => part.names(chosen),
            Expr::Test(test) => chosen(test.field),
        }
    }

    /// The bounds of `ts` that hold wherever the condition does.
    pub(super) fn bounds(&self) -> (Option<i64>, Option<i64>) {
        let (first, last) = self.ts_range();
        let bound = |value: i128| i64::try_from(value).ok();
        (bound(first), bound(last))
    }

    fn ts_range(&self) -> Range {
        match self {
            Expr::All(parts) => parts
                .iter()
                .map(Self::ts_range)
                .fold(EVERYTHING, |a, b| (a.0.max(b.0), a.1.min(b.1))),
            Expr::Test(Test {
                field: Field::Ts,
                is: Matcher::Within(ranges),
                not: false,
            }) => {
                let first = ranges.iter().map(|range| range.0).min();
                let last = ranges.iter().map(|range| range.1).max();
                (first.unwrap_or(EVERYTHING.0), last.unwrap_or(EVERYTHING.1))
            }
            _ => EVERYTHING,
        }
    }
}

/// The first part that is `decisive` decides; otherwise all must be known.
fn joined(parts: &[Expr], facts: &impl Facts, decisive: bool) -> Option<bool> {
    let mut answer = Some(!decisive);
    for part in parts {
        match part.judge(facts) {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => answer = None,
        }
    }
    answer
}

impl Test {
    fn judge(&self, fact: &Fact<'_>) -> Option<bool> {
        if *fact == Fact::Absent {
            return Some(false);
        }
        self.is.judge(fact).map(|holds| holds != self.not)
    }
}

impl Matcher {
    fn judge(&self, fact: &Fact<'_>) -> Option<bool> {
        if matches!(self, Matcher::Anything) {
            return (*fact != Fact::Unknown).then_some(true);
        }
        match fact {
            Fact::Unknown => None,
            Fact::Absent => Some(false),
            Fact::Number(number) => self.span(*number, *number),
            Fact::Between(first, last) => self.span(*first, *last),
            Fact::OneOf(numbers) => {
                let holds = |&number: &u32| self.span(number.into(), number.into()) == Some(true);
                match numbers.iter().filter(|number| holds(number)).count() {
                    0 => Some(false),
                    count if count == numbers.len() => Some(true),
                    _ => None,
                }
            }
            Fact::Text(text) => Some(self.text(text)),
            Fact::Bytes(bytes) => Some(self.bytes(bytes)),
            Fact::Both(facts) => {
                let [one, other] = facts.as_ref();
                match (self.judge(one), self.judge(other)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                }
            }
        }
    }

    /// Whether all numbers from `first` to `last` pass, or none.
    fn span(&self, first: i128, last: i128) -> Option<bool> {
        let Matcher::Within(ranges) = self else {
            return Some(false);
        };
        if ranges
            .iter()
            .any(|range| range.0 <= first && last <= range.1)
        {
            return Some(true);
        }
        let overlaps = ranges
            .iter()
            .any(|range| range.0 <= last && first <= range.1);
        if overlaps { None } else { Some(false) }
    }

    fn text(&self, text: &str) -> bool {
        match self {
            Matcher::Networks(networks) => networks.iter().any(|network| network.contains(text)),
            _ => self.bytes(text.as_bytes()),
        }
    }

    fn bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Matcher::Anything => true,
            Matcher::Equals(texts) => texts.iter().any(|text| text.as_bytes() == bytes),
            Matcher::Contains(part) => {
                part.is_empty()
                    || bytes
                        .windows(part.len())
                        .any(|window| window == part.as_bytes())
            }
            Matcher::Matches(regex) => regex.is_match(bytes),
            Matcher::Within(_) | Matcher::Networks(_) => false,
        }
    }
}
