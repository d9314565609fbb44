//! The values of a column that are there, in the types that Parquet has.

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, DictionaryArray, PrimitiveArray,
    },
    datatypes::{
        DataType, Int8Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use parquet::basic::Encoding;

use super::{
    delta,
    dictionary::{self, Distinct},
};
use crate::schema::Encoding as TableEncoding;

/// A number of 32 or 64 bits.
pub(super) trait Word: Copy + Eq {
    const SIZE: usize;
    const ZERO: Self;
    fn bits(self) -> u64;
    /// What is to be added to `other` to get this, signed, with an overflow of this width.
    fn difference(self, other: Self) -> i64;
    fn put(self, out: &mut Vec<u8>);
}

impl Word for u32 {
    const SIZE: usize = 4;
    const ZERO: Self = 0;
    fn bits(self) -> u64 {
        self.into()
    }
    fn difference(self, other: Self) -> i64 {
        i64::from(self.wrapping_sub(other) as i32)
    }
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

impl Word for u64 {
    const SIZE: usize = 8;
    const ZERO: Self = 0;
    fn bits(self) -> u64 {
        self
    }
    fn difference(self, other: Self) -> i64 {
        self.wrapping_sub(other) as i64
    }
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

/// The values of a column that are not null.
pub(super) enum Values<'a> {
    Words32(Vec<u32>),
    Words64(Vec<u64>),
    Bytes(Vec<&'a [u8]>),
    /// Each row's position among the words of an enum.
    Keys(Vec<u32>, Vec<&'a [u8]>),
    /// As bits, the first one the lowest.
    Bits(Vec<u8>, usize),
}

impl<'a> Values<'a> {
    /// `None` for types that are not packed here.
    pub(super) fn of(array: &'a ArrayRef) -> Option<Self> {
        Some(match array.data_type() {
            DataType::UInt8 => Self::Words32(valid::<UInt8Type, _>(array, u32::from)),
            DataType::UInt16 => Self::Words32(valid::<UInt16Type, _>(array, u32::from)),
            DataType::UInt32 => Self::Words32(valid::<UInt32Type, _>(array, |value| value)),
            DataType::Int32 => Self::Words32(valid::<Int32Type, _>(array, |value| value as u32)),
            DataType::UInt64 => Self::Words64(valid::<UInt64Type, _>(array, |value| value)),
            DataType::Int64 => Self::Words64(valid::<Int64Type, _>(array, |value| value as u64)),
            DataType::Utf8 => {
                let strings = array.as_string_opt::<i32>()?.iter().flatten();
                Self::Bytes(strings.map(str::as_bytes).collect())
            }
            DataType::Binary => {
                Self::Bytes(array.as_binary_opt::<i32>()?.iter().flatten().collect())
            }
            DataType::Boolean => bits(array.as_boolean_opt()?)?,
            DataType::Dictionary(..) => keys(array.as_dictionary_opt::<Int8Type>()?)?,
            _ => return None,
        })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Words32(values) => values.len(),
            Self::Words64(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Keys(keys, _) => keys.len(),
            Self::Bits(_, len) => *len,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they take in the encoding PLAIN.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Words32(values) => values.len() * 4,
            Self::Words64(values) => values.len() * 8,
            Self::Bytes(values) => values.iter().map(|value| value.len() + 4).sum(),
            Self::Keys(keys, _) => keys.len(),
            Self::Bits(bits, _) => bits.len(),
        }
    }

    /// How many bytes each value is split into.
    pub(super) fn planes(&self) -> usize {
        match self {
            Self::Words32(_) => 4,
            Self::Words64(_) => 8,
            Self::Bytes(_) | Self::Keys(..) | Self::Bits(..) => 1,
        }
    }

    /// By their distinct values; `None` if these are too many.
    pub(super) fn distinct(&self) -> Option<Distinct> {
        match self {
            Self::Words32(values) => dictionary::of_words(values),
            Self::Words64(values) => dictionary::of_words(values),
            Self::Bytes(values) => dictionary::of_bytes(values),
            Self::Keys(keys, words) => dictionary::of_keys(keys, words),
            Self::Bits(..) => None,
        }
    }

    /// Appends them, and says in which encoding.
    pub(super) fn pack(&self, encoding: TableEncoding, out: &mut Vec<u8>) -> Encoding {
        match self {
            Self::Words32(values) => pack_words(values, encoding, out),
            Self::Words64(values) => pack_words(values, encoding, out),
            Self::Bytes(values) => {
                values.iter().for_each(|value| put_bytes(value, out));
                Encoding::PLAIN
            }
            Self::Keys(keys, words) => {
                let words = keys.iter().filter_map(|&key| words.get(key as usize));
                words.for_each(|word| put_bytes(word, out));
                Encoding::PLAIN
            }
            Self::Bits(bits, _) => {
                out.extend_from_slice(bits);
                Encoding::PLAIN
            }
        }
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
                out.extend(
                    values
                        .iter()
                        .map(|value| (value.bits() >> (8 * plane)) as u8),
                );
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

fn valid<A: ArrowPrimitiveType, W>(array: &ArrayRef, word: impl Fn(A::Native) -> W) -> Vec<W> {
    let Some(array): Option<&PrimitiveArray<A>> = array.as_primitive_opt() else {
        return Vec::new();
    };
    let values = array.values();
    match array.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            let mut valid = Vec::with_capacity(values.len() - nulls.null_count());
            for (start, end) in nulls.valid_slices() {
                valid.extend(values[start..end].iter().map(|&value| word(value)));
            }
            valid
        }
        _ => values.iter().map(|&value| word(value)).collect(),
    }
}

fn bits(array: &BooleanArray) -> Option<Values<'_>> {
    if array.null_count() > 0 {
        return None;
    }
    let len = array.len();
    let mut bits = array.values().sliced()[..len.div_ceil(8)].to_vec();
    if let (Some(last), used @ 1..) = (bits.last_mut(), len % 8) {
        *last &= (1 << used) - 1;
    }
    Some(Values::Bits(bits, len))
}

fn keys(array: &DictionaryArray<Int8Type>) -> Option<Values<'_>> {
    let words = array.values().as_string_opt::<i32>()?;
    let keys = array.keys().iter().flatten();
    let keys = keys.map(|key| {
        u32::try_from(key)
            .ok()
            .filter(|&key| (key as usize) < words.len())
    });
    let words = words.iter().map(|word| word.unwrap_or_default().as_bytes());
    Some(Values::Keys(keys.collect::<Option<_>>()?, words.collect()))
}
