//! The distinct values of a column, and which of them each row has.

use std::collections::HashMap;

use super::column::{Word, put_bytes};

/// A dictionary page holds so many bytes at most; a column with more distinct values goes without.
const MOST_BYTES: usize = 1 << 20;
/// Slots of the table at first, a power of two.
const SLOTS: usize = 1 << 10;

/// The distinct values of a column, in the order in which they come first.
pub(super) struct Distinct {
    /// The values in the encoding PLAIN.
    pub(super) dictionary: Vec<u8>,
    pub(super) count: usize,
    /// How many rows have the same one after another, at most.
    pub(super) longest_run: usize,
}

/// The distinct words, of which each row's goes into `indices`; `None` if there are too many.
pub(super) fn of_words<W: Word>(values: &[W], indices: &mut Vec<u32>) -> Option<Distinct> {
    let (distinct, longest_run) = index(values, indices)?;
    let mut dictionary = Vec::with_capacity(distinct.len() * W::SIZE);
    distinct.iter().for_each(|value| value.put(&mut dictionary));
    Some(Distinct {
        dictionary,
        count: distinct.len(),
        longest_run,
    })
}

/// The distinct ones of `words`, which rows have by their `keys`.
pub(super) fn of_keys(keys: &[u32], words: &[&[u8]], indices: &mut Vec<u32>) -> Option<Distinct> {
    let (distinct, longest_run) = index(keys, indices)?;
    let mut dictionary = Vec::new();
    for &key in &distinct {
        put_bytes(words.get(key as usize)?, &mut dictionary);
    }
    Some(Distinct {
        dictionary,
        count: distinct.len(),
        longest_run,
    })
}

/// The distinct values and the longest run.
fn index<W: Word>(values: &[W], indices: &mut Vec<u32>) -> Option<(Vec<W>, usize)> {
    indices.clear();
    indices.reserve(values.len());
    let mut table = Table::new();
    let mut longest_run = 0;
    // The rows since `run_start` have the value of the one before.
    let (mut run_start, mut last) = (0, None);
    for (row, &value) in values.iter().enumerate() {
        let index = match last {
            Some((last, index)) if last == value => index,
            _ => {
                longest_run = longest_run.max(row - run_start);
                run_start = row;
                let index = table.index(value)?;
                last = Some((value, index));
                index
            }
        };
        indices.push(index);
    }
    Some((table.values, longest_run.max(values.len() - run_start)))
}

/// The distinct strings; `None` if they are too long.
pub(super) fn of_bytes(values: &[&[u8]], indices: &mut Vec<u32>) -> Option<Distinct> {
    let mut known: HashMap<&[u8], u32> = HashMap::new();
    let mut dictionary = Vec::new();
    indices.clear();
    for &value in values {
        let next = known.len() as u32;
        let index = *known.entry(value).or_insert_with(|| {
            put_bytes(value, &mut dictionary);
            next
        });
        if dictionary.len() > MOST_BYTES {
            return None;
        }
        indices.push(index);
    }
    Some(Distinct {
        dictionary,
        count: known.len(),
        longest_run: values.len(),
    })
}

/// Open addressing, half full at most. An index of 0 is a free slot, others are one too large.
struct Table<W> {
    slots: Vec<u32>,
    values: Vec<W>,
}

impl<W: Word> Table<W> {
    fn new() -> Self {
        Self {
            slots: vec![0; SLOTS],
            values: Vec::new(),
        }
    }

    #[inline]
    fn index(&mut self, value: W) -> Option<u32> {
        let mut slot = self.home(value);
        loop {
            let index = self.slots[slot];
            if index == 0 {
                return self.insert(slot, value);
            }
            if self.values[index as usize - 1] == value {
                return Some(index - 1);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// The slot that a value is looked for in first.
    #[inline]
    fn home(&self, value: W) -> usize {
        let hash = value.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.slots.len() - 1)
    }

    fn insert(&mut self, slot: usize, value: W) -> Option<u32> {
        if (self.values.len() + 1) * W::SIZE > MOST_BYTES {
            return None;
        }
        self.values.push(value);
        self.slots[slot] = self.values.len() as u32;
        if self.values.len() * 2 > self.slots.len() {
            self.grow();
        }
        Some(self.values.len() as u32 - 1)
    }

    fn grow(&mut self) {
        let len = self.slots.len() * 4;
        self.slots.clear();
        self.slots.resize(len, 0);
        for index in 0..self.values.len() {
            let mut slot = self.home(self.values[index]);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (len - 1);
            }
            self.slots[slot] = index as u32 + 1;
        }
    }
}
