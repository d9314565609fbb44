//! A column on its way into a member: its values in the types that Parquet has, and which rows have
//! one.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use parquet::{basic::Encoding, schema::types::ColumnDescPtr};

use super::{
    delta,
    dictionary::{self, Distinct},
    runs,
};
use crate::schema::Encoding as TableEncoding;

/// Memory in which values are put into order, used again for each column.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) words32: Vec<u32>,
    pub(crate) words64: Vec<u64>,
    pub(crate) valid: Vec<u8>,
    pub(crate) bits: Vec<u8>,
}

/// A number of 32 or 64 bits.
pub trait Word: Copy + Eq + Default + 'static {
    const SIZE: usize;
    fn bits(self) -> u64;
    /// What is to be added to `other` to get this, signed, with an overflow of this width.
    fn difference(self, other: Self) -> i64;
    fn put(self, out: &mut Vec<u8>);
    /// Where words of this width are put into order, and which rows have one.
    fn scratch(scratch: &mut Scratch) -> (&mut Vec<Self>, &mut Vec<u8>);
    fn values(words: &[Self]) -> Values<'_>;
}

impl Word for u32 {
    const SIZE: usize = 4;
    fn bits(self) -> u64 {
        self.into()
    }
    fn difference(self, other: Self) -> i64 {
        i64::from(self.wrapping_sub(other) as i32)
    }
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn scratch(scratch: &mut Scratch) -> (&mut Vec<Self>, &mut Vec<u8>) {
        (&mut scratch.words32, &mut scratch.valid)
    }
    fn values(words: &[Self]) -> Values<'_> {
        Values::Words32(words)
    }
}

impl Word for u64 {
    const SIZE: usize = 8;
    fn bits(self) -> u64 {
        self
    }
    fn difference(self, other: Self) -> i64 {
        self.wrapping_sub(other) as i64
    }
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn scratch(scratch: &mut Scratch) -> (&mut Vec<Self>, &mut Vec<u8>) {
        (&mut scratch.words64, &mut scratch.valid)
    }
    fn values(words: &[Self]) -> Values<'_> {
        Values::Words64(words)
    }
}

/// Bits one after another, the first one the lowest.
pub(crate) struct Bits<'a> {
    bytes: &'a mut Vec<u8>,
    len: usize,
    /// The last bits, as long as they are less than a byte.
    last: u8,
}

impl<'a> Bits<'a> {
    /// None yet; `bytes` is where they go.
    pub(crate) fn new(bytes: &'a mut Vec<u8>) -> Self {
        bytes.clear();
        Self {
            bytes,
            len: 0,
            last: 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, bit: bool) {
        self.last |= u8::from(bit) << (self.len % 8);
        self.len += 1;
        if self.len.is_multiple_of(8) {
            self.bytes.push(self.last);
            self.last = 0;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn finish(self) -> &'a [u8] {
        if !self.len.is_multiple_of(8) {
            self.bytes.push(self.last);
        }
        self.bytes
    }
}

/// The values of a column that are not null.
#[derive(Debug)]
pub enum Values<'a> {
    /// Numbers of up to 32 bits.
    Words32(&'a [u32]),
    /// Numbers of 64 bits.
    Words64(&'a [u64]),
    /// Strings, or bytes.
    Bytes(Vec<&'a [u8]>),
    /// Each row's position among the words of an enum.
    Keys(&'a [u32], Vec<&'a [u8]>),
    /// So many truth values.
    Bits(usize, &'a [u8]),
    /// Lists, which are not packed here.
    Lists(ArrayRef),
}

impl Values<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Words32(values) => values.len(),
            Self::Words64(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Keys(keys, _) => keys.len(),
            Self::Bits(len, _) => *len,
            Self::Lists(lists) => lists.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes each value is split into.
    pub(super) fn planes(&self) -> usize {
        match self {
            Self::Words32(_) => u32::SIZE,
            Self::Words64(_) => u64::SIZE,
            _ => 1,
        }
    }

    /// By their distinct values, of which each row's goes into `indices`; `None` if these are too many.
    pub(super) fn distinct(&self, indices: &mut Vec<u32>) -> Option<Distinct> {
        match self {
            Self::Words32(values) => dictionary::of_words(values, indices),
            Self::Words64(values) => dictionary::of_words(values, indices),
            Self::Bytes(values) => dictionary::of_bytes(values, indices),
            Self::Keys(keys, words) => dictionary::of_keys(keys, words, indices),
            Self::Bits(..) | Self::Lists(_) => None,
        }
    }

    /// Appends them, and says in which encoding.
    pub(super) fn pack(&self, encoding: TableEncoding, out: &mut Vec<u8>) -> Encoding {
        match self {
            Self::Words32(values) => return pack_words(values, encoding, out),
            Self::Words64(values) => return pack_words(values, encoding, out),
            Self::Bytes(values) => values.iter().for_each(|value| put_bytes(value, out)),
            Self::Keys(keys, words) => {
                let words = keys.iter().filter_map(|&key| words.get(key as usize));
                words.for_each(|word| put_bytes(word, out));
            }
            Self::Bits(_, bits) => out.extend_from_slice(bits),
            Self::Lists(_) => {}
        }
        Encoding::PLAIN
    }
}

fn pack_words<W: Word>(values: &[W], encoding: TableEncoding, out: &mut Vec<u8>) -> Encoding {
    match encoding {
        TableEncoding::Delta => {
            delta::pack(values, out);
            Encoding::DELTA_BINARY_PACKED
        }
        TableEncoding::Split => {
            for plane in 0..W::SIZE {
                let bytes = values.iter().map(|value| value.bits() >> (8 * plane));
                out.extend(bytes.map(|bits| bits as u8));
            }
            Encoding::BYTE_STREAM_SPLIT
        }
        TableEncoding::Dict | TableEncoding::Plain => {
            values.iter().for_each(|value| value.put(out));
            Encoding::PLAIN
        }
    }
}

/// Appends a string in the encoding PLAIN.
pub(super) fn put_bytes(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// Which rows have a value.
#[derive(Debug)]
enum Valid<'a> {
    All,
    None,
    /// One bit for each row, and some of them are set.
    Some(&'a [u8]),
}

/// The rows of a column.
#[derive(Debug)]
pub struct Column<'a> {
    rows: usize,
    valid: Valid<'a>,
    pub(super) values: Values<'a>,
}

impl<'a> Column<'a> {
    /// Every row has a value.
    pub(crate) fn whole(values: Values<'a>) -> Self {
        Self {
            rows: values.len(),
            valid: Valid::All,
            values,
        }
    }

    /// The rows that have a bit in `valid` have a value; it is not looked at if all have, or none has.
    pub(crate) fn new(rows: usize, valid: &'a [u8], values: Values<'a>) -> Self {
        let valid = match values.len() {
            len if len == rows => Valid::All,
            0 => Valid::None,
            _ => Valid::Some(valid),
        };
        Self {
            rows,
            valid,
            values,
        }
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends which rows have a value: the length of the levels, and one bit for each.
    pub(super) fn put_levels(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match self.valid {
            Valid::All => runs::repeat(1, self.rows, 1, out),
            Valid::None => runs::repeat(0, self.rows, 1, out),
            Valid::Some(bits) => {
                runs::packed_header(self.rows, out);
                out.extend_from_slice(bits);
            }
        }
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// The same as an Arrow array, if it is one of strings, bytes or lists.
    pub(crate) fn to_array(&self, descr: &ColumnDescPtr) -> Option<ArrayRef> {
        let mut values = match &self.values {
            Values::Bytes(values) => values.iter().copied(),
            Values::Lists(lists) => return Some(Arc::clone(lists)),
            _ => return None,
        };
        let rows = (0..self.rows).map(|row| match self.valid {
            Valid::All => values.next(),
            Valid::None => None,
            Valid::Some(bits) if bits[row / 8] >> (row % 8) & 1 != 0 => values.next(),
            Valid::Some(_) => None,
        });
        Some(match descr.logical_type_ref() {
            Some(_) => {
                let strings = rows.map(|row| row.and_then(|row| std::str::from_utf8(row).ok()));
                Arc::new(strings.collect::<StringArray>())
            }
            None => Arc::new(rows.collect::<BinaryArray>()),
        })
    }
}
