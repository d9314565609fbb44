//! The distinct values of a column, and which of them each row has.

use std::collections::HashMap;

use super::values::Word;

/// A dictionary page holds so many bytes at most; a column with more distinct values goes without.
const MOST_BYTES: usize = 1 << 20;
/// Slots of the table at first, a power of two.
const SLOTS: usize = 1 << 10;

/// A column by its distinct values, in the order in which they come first.
pub(super) struct Distinct {
    /// The values in the encoding PLAIN.
    pub(super) dictionary: Vec<u8>,
    pub(super) count: usize,
    pub(super) indices: Vec<u32>,
}

/// The distinct words; `None` if there are too many.
pub(super) fn of_words<W: Word>(values: &[W]) -> Option<Distinct> {
    let (distinct, indices) = table_of(values)?;
    let mut dictionary = Vec::with_capacity(distinct.len() * W::SIZE);
    distinct.iter().for_each(|value| value.put(&mut dictionary));
    Some(Distinct {
        dictionary,
        count: distinct.len(),
        indices,
    })
}

/// The distinct ones of `words`, which rows have by their `keys`.
pub(super) fn of_keys(keys: &[u32], words: &[&[u8]]) -> Option<Distinct> {
    let (distinct, indices) = table_of(keys)?;
    let mut dictionary = Vec::new();
    for &key in &distinct {
        super::values::put_bytes(words.get(key as usize)?, &mut dictionary);
    }
    Some(Distinct {
        dictionary,
        count: distinct.len(),
        indices,
    })
}

fn table_of<W: Word>(values: &[W]) -> Option<(Vec<W>, Vec<u32>)> {
    let mut table = Table::new();
    let mut indices = Vec::with_capacity(values.len());
    let mut last = None;
    for &value in values {
        let index = match last {
            Some((last, index)) if last == value => index,
            _ => table.index(value)?,
        };
        last = Some((value, index));
        indices.push(index);
    }
    Some((table.values, indices))
}

/// The distinct strings; `None` if they are too long.
pub(super) fn of_bytes(values: &[&[u8]]) -> Option<Distinct> {
    let mut known: HashMap<&[u8], u32> = HashMap::new();
    let mut dictionary = Vec::new();
    let mut indices = Vec::with_capacity(values.len());
    for &value in values {
        let next = known.len() as u32;
        let index = *known.entry(value).or_insert_with(|| {
            super::values::put_bytes(value, &mut dictionary);
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
        indices,
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
