//! Unpacking: Parquet column chunks to Arrow arrays.
//!
//! Columns of numbers in the layouts that [`crate::pack`] writes are read here: one page, indices of
//! whole bytes, levels of one bit. The Parquet reader passes values through buffers of its own and places
//! nulls one by one: an eighth more time for a row of `syscalls`, a quarter more for one of `switches`.
//! Whatever else there is, from other writers too, goes through that reader, on pages that were checked
//! ([`headers`]) and unpacked ([`frames`]) here.

mod column;
mod delta;
mod frames;
mod headers;
mod input;
mod levels;
mod runs;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions},
    compute::concat_batches,
    datatypes::{FieldRef, Schema},
    error::ArrowError,
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask, arrow_reader::ParquetRecordBatchReader, parquet_to_arrow_field_levels,
    },
    errors::ParquetError,
};

use crate::segment::DECODED_LIMIT;
use column::Unpacked;
use frames::CheckedMember;
pub(crate) use {frames::load_metadata, headers::Refused};

/// Rows that the Parquet reader decodes at once: more than the recorder writes to a member.
const BATCH_ROWS: u64 = 1 << 17;

/// The wanted columns of a member, all rows in one batch; without columns that have no value.
///
/// # Errors
/// What is wrong with the bytes, or which limit they are beyond.
pub(crate) fn columns(
    bytes: Bytes,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<RecordBatch, Refused> {
    let member = CheckedMember::open(bytes)?;
    let mut columns: Vec<(FieldRef, ArrayRef)> = Vec::new();
    let mut rest = Vec::new();
    let mut room = Room::default();
    for (root, field) in member.fields().iter().enumerate() {
        if !is_wanted(field.name()) {
            continue;
        }
        match column::unpack(&member, root, field.data_type())? {
            Unpacked::Array(array) => {
                room.take(&*array)?;
                columns.push((Arc::clone(field), array));
            }
            Unpacked::NoValues => {}
            Unpacked::Other => rest.push(root),
        }
    }
    if !rest.is_empty() {
        let batches = by_library(&member, rest, &mut room)?;
        let batch = match <[RecordBatch; 1]>::try_from(batches) {
            Ok([batch]) => batch,
            Err(batches) => {
                let schema = batches.first().map(RecordBatch::schema);
                concat_batches(&schema.unwrap_or_else(|| Schema::empty().into()), &batches)?
            }
        };
        let fields = batch.schema();
        let fields = fields.fields().iter().cloned();
        columns.extend(fields.zip(batch.columns().iter().cloned()));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(member.rows()));
    let (fields, arrays): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .map(|(field, array)| (field.as_ref().clone().with_nullable(true), array))
        .unzip();
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

/// All columns of a member, whatever they are.
///
/// # Errors
/// As [`columns`].
pub(crate) fn any_columns(bytes: Bytes) -> Result<Vec<RecordBatch>, Refused> {
    let member = CheckedMember::open(bytes)?;
    let roots = (0..member.fields().len()).collect();
    by_library(&member, roots, &mut Room::default())
}

/// Whether each column is read here.
#[cfg(test)]
pub(crate) fn is_all_read_here(bytes: Bytes) -> bool {
    let member = CheckedMember::open(bytes).unwrap();
    let mut fields = member.fields().iter().enumerate();
    fields.all(|(root, field)| {
        let unpacked = column::unpack(&member, root, field.data_type());
        !matches!(unpacked.unwrap(), Unpacked::Other)
    })
}

fn by_library(
    member: &CheckedMember,
    roots: Vec<usize>,
    room: &mut Room,
) -> Result<Vec<RecordBatch>, Refused> {
    let mask = ProjectionMask::roots(member.schema(), roots);
    let levels = parquet_to_arrow_field_levels(member.schema(), mask, None)?;
    let batch_rows = (member.rows() as u64).clamp(1, BATCH_ROWS) as usize;
    let reader =
        ParquetRecordBatchReader::try_new_with_row_groups(&levels, member, batch_rows, None)?;
    let mut batches = Vec::new();
    for batch in reader {
        let batch = batch?;
        batch
            .columns()
            .iter()
            .try_for_each(|array| room.take(array))?;
        batches.push(batch);
    }
    Ok(batches)
}

/// The memory that arrays take.
#[derive(Default)]
struct Room {
    taken_bytes: u64,
}

impl Room {
    fn take(&mut self, array: &dyn Array) -> Result<(), Refused> {
        self.taken_bytes += array.get_array_memory_size() as u64;
        if self.taken_bytes <= DECODED_LIMIT {
            return Ok(());
        }
        let what = "the decoded size in bytes";
        Err(Refused::TooLarge(what, self.taken_bytes, DECODED_LIMIT))
    }
}

/// A page contradicts itself or the footer.
fn damage(what: impl std::fmt::Display) -> ParquetError {
    ParquetError::General(format!("a page is inconsistent: {what}"))
}

impl From<ParquetError> for Refused {
    fn from(error: ParquetError) -> Self {
        Refused::Inconsistent(error.to_string())
    }
}

impl From<ArrowError> for Refused {
    fn from(error: ArrowError) -> Self {
        Refused::Inconsistent(error.to_string())
    }
}
