//! One column: its pages to an array.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray},
    buffer::NullBuffer,
    datatypes::{DataType, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};
use parquet::{
    arrow::arrow_reader::RowGroups,
    basic::{Encoding, Type},
    column::page::{Page, PageReader},
    errors::Result,
};

use super::{damage, delta, frames::CheckedMember, input::Input, levels, runs};
use crate::{column::Number, pack::Word};

/// What a column came to.
pub(super) enum Unpacked {
    Array(ArrayRef),
    /// It is null in each row.
    NoValues,
    /// It is not of a kind that is read here.
    Other,
}

/// Unpacks the column at `root` of a member's schema, whose Arrow type is `data_type`.
///
/// # Errors
/// What is wrong with its pages.
pub(super) fn unpack(
    member: &CheckedMember,
    root: usize,
    data_type: &DataType,
) -> Result<Unpacked> {
    let unpack: fn(&mut dyn PageReader, bool, usize) -> Result<Unpacked> = match data_type {
        DataType::UInt8 => numbers::<UInt8Type>,
        DataType::UInt16 => numbers::<UInt16Type>,
        DataType::UInt32 => numbers::<UInt32Type>,
        DataType::UInt64 => numbers::<UInt64Type>,
        DataType::Int32 => numbers::<Int32Type>,
        DataType::Int64 => numbers::<Int64Type>,
        _ => return Ok(Unpacked::Other),
    };
    let schema = member.schema();
    let leaf = (0..schema.num_columns()).find(|&leaf| schema.get_column_root_idx(leaf) == root);
    let Some((leaf, descr)) = leaf.map(|leaf| (leaf, schema.column(leaf))) else {
        return Ok(Unpacked::Other);
    };
    let width = match descr.physical_type() {
        Type::INT32 => u32::SIZE,
        Type::INT64 => u64::SIZE,
        _ => 0,
    };
    let expected = match data_type {
        DataType::UInt64 | DataType::Int64 => u64::SIZE,
        _ => u32::SIZE,
    };
    let is_flat = descr.max_rep_level() == 0 && descr.max_def_level() <= 1;
    if width != expected || !is_flat || member.metadata().num_row_groups() != 1 {
        return Ok(Unpacked::Other);
    }
    match member.column_chunks(leaf)?.next() {
        Some(pages) => unpack(&mut *pages?, descr.max_def_level() > 0, member.rows()),
        None => Ok(Unpacked::Other),
    }
}

fn numbers<A>(pages: &mut dyn PageReader, is_nullable: bool, rows: usize) -> Result<Unpacked>
where
    A: ArrowPrimitiveType,
    A::Native: Number,
{
    let mut page = pages.get_next_page()?;
    let mut dictionary = None;
    if let Some(Page::DictionaryPage {
        buf,
        encoding: Encoding::PLAIN | Encoding::PLAIN_DICTIONARY,
        ..
    }) = &page
    {
        dictionary = Some(plain::<A::Native>(buf));
        page = pages.get_next_page()?;
    }
    let Some(Page::DataPage {
        buf,
        num_values,
        encoding,
        def_level_encoding: Encoding::RLE,
        ..
    }) = page
    else {
        return Ok(Unpacked::Other);
    };
    if pages.peek_next_page()?.is_some() {
        return Ok(Unpacked::Other);
    }
    if num_values as usize != rows {
        return Err(damage(format_args!("{num_values} values in {rows} rows")));
    }
    let mut input = Input(&buf);
    let nulls = match is_nullable {
        true => levels::take(&mut input, rows)?,
        false => None,
    };
    let count = rows - nulls.as_ref().map_or(0, NullBuffer::null_count);
    if count == 0 && rows > 0 {
        return Ok(Unpacked::NoValues);
    }
    let values = match (encoding, &dictionary) {
        (Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY, Some(dictionary)) => {
            runs::of_dictionary(&mut input, dictionary, count)?
        }
        (Encoding::DELTA_BINARY_PACKED, _) => delta::unpack(&mut input, count, A::Native::of_bits)?,
        (Encoding::BYTE_STREAM_SPLIT, _) => Some(joined(input.0, count)?),
        (Encoding::PLAIN, _) => Some(plain(input.0)),
        _ => None,
    };
    let Some(mut values) = values else {
        return Ok(Unpacked::Other);
    };
    if values.len() < count {
        return Err(damage(format_args!(
            "{} values, expected {count}",
            values.len()
        )));
    }
    values.truncate(count);
    if let Some(nulls) = &nulls {
        spread(&mut values, nulls);
    }
    Ok(Unpacked::Array(Arc::new(PrimitiveArray::<A>::new(
        values.into(),
        nulls,
    ))))
}

/// Numbers one after another.
fn plain<T: Number>(bytes: &[u8]) -> Vec<T> {
    let words = bytes.chunks_exact(T::Word::SIZE);
    let bits = words.map(|word| {
        let mut bits = [0; 8];
        bits[..T::Word::SIZE].copy_from_slice(word);
        u64::from_le_bytes(bits)
    });
    bits.map(T::of_bits).collect()
}

/// Numbers whose bytes lie in planes: the lowest of all, the second of all, …
pub(super) fn joined<T: Number>(bytes: &[u8], count: usize) -> Result<Vec<T>> {
    /// So many at a time stay in the nearest cache.
    const AT_ONCE: usize = 512;
    let planes = T::Word::SIZE;
    if bytes.len() != count * planes {
        return Err(damage(format_args!(
            "{} bytes for {count} values",
            bytes.len()
        )));
    }
    let mut values = Vec::with_capacity(count);
    let mut words = [0u64; AT_ONCE];
    for start in (0..count).step_by(AT_ONCE) {
        let words = &mut words[..AT_ONCE.min(count - start)];
        words.fill(0);
        for plane in 0..planes {
            let bytes = &bytes[plane * count + start..][..words.len()];
            // The upper bytes of most numbers are.
            if bytes.iter().all(|&byte| byte == 0) {
                continue;
            }
            for (word, &byte) in words.iter_mut().zip(bytes) {
                *word |= u64::from(byte) << (8 * plane);
            }
        }
        values.extend(words.iter().map(|&bits| T::of_bits(bits)));
    }
    Ok(values)
}

/// Moves each value to its row, from the last one on; other rows get the default.
fn spread<T: Copy + Default>(values: &mut Vec<T>, nulls: &NullBuffer) {
    let mut from = values.len();
    values.resize(nulls.len(), T::default());
    for row in (0..nulls.len()).rev() {
        if from == row + 1 {
            // All rows up to here have one.
            return;
        }
        let is_valid = nulls.is_valid(row);
        from -= usize::from(is_valid);
        values[row] = match is_valid {
            true => values[from],
            false => T::default(),
        };
    }
}
