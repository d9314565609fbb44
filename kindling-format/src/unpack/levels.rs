//! Which rows of a column have a value.

use arrow::{array::BooleanBufferBuilder, buffer::NullBuffer};
use parquet::errors::Result;

use super::{damage, input::Input, runs::Run};

/// Takes the levels in front of a page's values: the length, then runs of one bit each. `None` if all
/// of the `rows` rows have a value.
///
/// # Errors
/// If they are not those of so many rows.
pub(super) fn take(page: &mut Input<'_>, rows: usize) -> Result<Option<NullBuffer>> {
    let levels = page.take(4).and_then(|len| {
        let len = u32::from_le_bytes(*len.first_chunk()?);
        page.take(len as usize)
    });
    let Some(levels) = levels else {
        return Err(damage("its levels are cut"));
    };
    let mut levels = Input(levels);
    let mut bits = BooleanBufferBuilder::new(rows);
    while bits.len() < rows {
        let missing = rows - bits.len();
        let run = Run::take(&mut levels, 1, missing);
        match run.ok_or_else(|| damage("its levels end before its rows"))? {
            Run::Repeated(value @ 0..=1, count) => bits.append_n(count, value == 1),
            Run::Repeated(level, _) => {
                return Err(damage(format_args!(
                    "level {level} in a column of levels 0 and 1"
                )));
            }
            Run::Packed(packed, count) => bits.append_packed_range(0..count, packed),
        }
    }
    let nulls = NullBuffer::new(bits.finish());
    Ok((nulls.null_count() > 0).then_some(nulls))
}
