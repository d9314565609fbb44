//! The hybrid of run lengths and packed values that dictionary indices and levels are written in.

use parquet::errors::Result;

use super::{damage, input::Input};

/// Some values of a hybrid.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run<'a> {
    /// The same value so many times.
    Repeated(u32, usize),
    /// So many packed values.
    Packed(&'a [u8], usize),
}

impl<'a> Run<'a> {
    /// The next run of values of `width` bits, at most the `missing` ones; `None` if it is cut.
    pub(super) fn take(input: &mut Input<'a>, width: usize, missing: usize) -> Option<Self> {
        let header = input.varint()?;
        let len = usize::try_from(header >> 1).ok()?;
        if header & 1 == 0 {
            let mut value = [0; 4];
            let bytes = input.take(width.div_ceil(8))?;
            value.get_mut(..bytes.len())?.copy_from_slice(bytes);
            return Some(Run::Repeated(u32::from_le_bytes(value), len.min(missing)));
        }
        let bytes = len.checked_mul(width)?;
        let count = len.saturating_mul(8).min(missing);
        // Some writers leave out what pads the last values to eight.
        let there = bytes.min(input.0.len());
        let packed = input.take(there)?;
        (there >= (count * width).div_ceil(8)).then_some(Run::Packed(packed, count))
    }
}

/// The values of `count` rows by their indices into a dictionary; `None` if these are not of whole bytes.
///
/// # Errors
/// If there are not so many, or one is beyond the dictionary.
pub(super) fn of_dictionary<T: Copy>(
    input: &mut Input<'_>,
    dictionary: &[T],
    count: usize,
) -> Result<Option<Vec<T>>> {
    let cut = || damage("its indices end before its rows");
    let width = usize::from(input.byte().ok_or_else(cut)?);
    if !matches!(width, 0 | 8 | 16) {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let missing = count - values.len();
        let of = |index: usize| {
            let beyond = || {
                damage(format_args!(
                    "index {index} of a dictionary of {}",
                    dictionary.len()
                ))
            };
            dictionary.get(index).copied().ok_or_else(beyond)
        };
        match Run::take(input, width, missing).ok_or_else(cut)? {
            Run::Repeated(index, len) => {
                values.extend(std::iter::repeat_n(of(index as usize)?, len))
            }
            Run::Packed(_, len) if width == 0 => values.extend(std::iter::repeat_n(of(0)?, len)),
            Run::Packed(packed, len) if width == 8 => {
                let indices = &packed[..len];
                of(indices.iter().copied().max().unwrap_or(0).into())?;
                values.extend(indices.iter().map(|&index| dictionary[usize::from(index)]));
            }
            Run::Packed(packed, len) => {
                let indices = || {
                    let pairs = packed.chunks_exact(2).take(len);
                    pairs.map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])))
                };
                of(indices().max().unwrap_or(0))?;
                values.extend(indices().map(|index| dictionary[index]));
            }
        }
    }
    Ok(Some(values))
}
