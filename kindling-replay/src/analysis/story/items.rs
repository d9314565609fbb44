//! What a thread did, item by item: small, for a thread makes millions of calls.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// A call, or what lies between two calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) start: i64,
    pub(super) end: i64,
    /// Bytes that it moved.
    pub(super) bytes: u64,
    /// Its place among the kinds.
    pub(super) kind: u32,
}

/// The kind of what lies between two calls.
pub(super) const BETWEEN: u32 = 0;

/// Calls that are told in the same words.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    /// The call; `None` between two.
    pub(super) name: Option<&'static str>,
    /// Its call, error and what it worked on, without what differs between connections: items of equal
    /// signature are the same thing done again.
    pub(super) signature: Arc<str>,
    /// The same with what differs.
    pub(super) what: Arc<str>,
}

/// What tells kinds of calls apart: the number, the file and the error.
pub(super) type Key = (u16, Option<u32>, Option<u16>);

/// All kinds, with numbers.
#[derive(Debug)]
pub(super) struct Kinds {
    kinds: Vec<Kind>,
    by_key: BTreeMap<Key, u32>,
    /// Of each kind the number of its signature.
    signatures: Vec<u32>,
    by_signature: BTreeMap<Arc<str>, u32>,
}

impl Default for Kinds {
    /// Only what lies between calls.
    fn default() -> Self {
        let mut kinds = Self {
            kinds: Vec::new(),
            by_key: BTreeMap::new(),
            signatures: Vec::new(),
            by_signature: BTreeMap::new(),
        };
        kinds.add(Kind {
            name: None,
            signature: "".into(),
            what: "".into(),
        });
        kinds
    }
}

impl Kinds {
    /// The number of a kind of calls; `kind` describes it when it comes for the first time.
    pub(super) fn number(&mut self, key: Key, kind: impl FnOnce() -> Kind) -> u32 {
        if let Some(&number) = self.by_key.get(&key) {
            return number;
        }
        let number = self.add(kind());
        self.by_key.insert(key, number);
        number
    }

    fn add(&mut self, kind: Kind) -> u32 {
        let next = self.by_signature.len() as u32;
        let signature = Arc::clone(&kind.signature);
        let signature = *self.by_signature.entry(signature).or_insert(next);
        let number = self.kinds.len() as u32;
        self.kinds.push(kind);
        self.signatures.push(signature);
        number
    }

    /// What kind an item is of.
    pub(super) fn of(&self, item: &Item) -> &Kind {
        &self.kinds[item.kind as usize]
    }

    /// The number of an item's signature.
    pub(super) fn signature(&self, item: &Item) -> u32 {
        self.signatures[item.kind as usize]
    }
}

/// What a call was part of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notes {
    pub(super) serves: u32,
    pub(super) asks: u32,
    /// The first request, by its id.
    pub(super) request: Option<usize>,
    pub(super) lines: u32,
    /// The first line.
    pub(super) line: Option<String>,
}

/// Items in the order of time, with what is noted at some of them.
#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) kinds: Kinds,
    pub(super) all: Vec<Item>,
    notes: BTreeMap<usize, Notes>,
}

impl Items {
    /// The notes at the call that was entered at a moment, to be added to; `None` if there is no such call.
    pub(super) fn notes_at(&mut self, ts: i64) -> Option<&mut Notes> {
        let first = self.all.partition_point(|item| item.start < ts);
        let then = self.all.get(first..)?.iter();
        let mut then = then.take_while(|item| item.start == ts);
        let at = first + then.position(|item| item.kind != BETWEEN)?;
        Some(self.notes.entry(at).or_default())
    }

    /// The notes at an item.
    pub(super) fn notes(&self, at: usize) -> Option<&Notes> {
        self.notes.get(&at)
    }

    /// Whether something is noted at one of these.
    pub(super) fn any_noted(&self, items: Range<usize>) -> bool {
        self.notes.range(items).next().is_some()
    }
}
