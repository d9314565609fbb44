//! What is known of the events that a condition is tested on.

use std::borrow::Cow;

use super::field::{EventKind, Field};

/// Says what the fields of an event are; or of many events at once, what all of them have in common.
pub trait Facts {
    /// The field's value.
    fn fact(&self, field: Field) -> Fact<'_>;
}

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact<'a> {
    /// It differs between the events, or was not looked up.
    Unknown,
    /// The event does not have it.
    Absent,
    /// A number, in the base unit of its type: nanoseconds, bytes.
    Number(i128),
    /// All events have a number from the first to the last of these.
    Between(i128, i128),
    /// All events have one of these numbers.
    OneOf(&'a [u32]),
    /// A text, a word or an address.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Two values at once: of either end, of either thread.
    Both(Box<[Fact<'a>; 2]>),
}

impl<'a> Fact<'a> {
    /// A number, or that there is none.
    pub fn number(value: Option<impl Into<i128>>) -> Self {
        value.map_or(Fact::Absent, |value| Fact::Number(value.into()))
    }

    /// A text, or that there is none; an empty one counts as none.
    pub fn text(value: Option<&'a str>) -> Self {
        match value {
            Some(text) if !text.is_empty() => Fact::Text(Cow::Borrowed(text)),
            _ => Fact::Absent,
        }
    }

    /// Two values; one if the other is absent.
    pub fn both(one: Fact<'a>, other: Fact<'a>) -> Self {
        match (one, other) {
            (Fact::Absent, fact) | (fact, Fact::Absent) => fact,
            (one, other) => Fact::Both(Box::new([one, other])),
        }
    }
}

/// All events of one kind.
pub(super) struct OfKind(pub(super) EventKind);

impl Facts for OfKind {
    fn fact(&self, field: Field) -> Fact<'_> {
        match field {
            Field::EventKind => Fact::Text(Cow::Borrowed(self.0.word())),
            field if field.is_of(self.0) => Fact::Unknown,
            _ => Fact::Absent,
        }
    }
}
