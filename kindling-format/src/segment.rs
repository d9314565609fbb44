//! A member's bytes: Arrow arrays to one Parquet file and back.

use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchReader},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
        arrow_writer::ArrowWriterOptions,
    },
    basic::{Compression, Encoding as ParquetEncoding, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties, WriterVersion},
    schema::types::ColumnPath,
};

use crate::{
    FormatError,
    column::{Rows, Value, View},
    schema::{Encoding, Extent, Table},
};

/// The most rows that a reader accepts in one member. The recorder writes at most 64 Ki syscalls to
/// a segment; `compact` and `merge` stay below this too.
pub const ROWS_LIMIT: u64 = 1 << 24;
/// The most bytes that the columns of one member may say they unpack to.
pub const UNPACKED_LIMIT: u64 = 4 << 30;
/// The zstd level while recording: level 9 saves a tenth and costs twice the time (docs/FORMAT.md).
const RECORD_LEVEL: i32 = 1;

/// A member that is ready to be written.
#[derive(Debug, Clone)]
pub struct EncodedMember {
    /// The table.
    pub table: &'static str,
    /// What its rows cover.
    pub extent: Extent,
    /// The Parquet file.
    pub bytes: Vec<u8>,
}

pub(crate) fn encode<T: Table>(
    arrays: Vec<ArrayRef>,
    extent: Extent,
) -> Result<EncodedMember, FormatError> {
    let refused = |error: &dyn std::fmt::Display| FormatError::Encode {
        member: T::NAME.to_owned(),
        what: error.to_string(),
    };
    let schema = schema_of::<T>();
    let options = ArrowWriterOptions::new()
        .with_properties(properties_of::<T>())
        .with_skip_arrow_metadata(true);
    let write = || -> Result<Vec<u8>, FormatError> {
        let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| refused(&e))?;
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)
            .map_err(|e| refused(&e))?;
        writer.write(&batch).map_err(|e| refused(&e))?;
        writer.into_inner().map_err(|e| refused(&e))
    };
    Ok(EncodedMember {
        table: T::NAME,
        extent,
        bytes: write()?,
    })
}

fn schema_of<T: Table>() -> SchemaRef {
    let fields: Vec<Field> = T::specs()
        .into_iter()
        .map(|spec| Field::new(spec.name, spec.data_type, spec.nullable))
        .collect();
    Arc::new(Schema::new(fields))
}

fn properties_of<T: Table>() -> WriterProperties {
    let level = ZstdLevel::try_new(RECORD_LEVEL).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(level))
        .set_created_by(concat!("kindling-format ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(ROWS_LIMIT as usize))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true);
    for spec in T::specs() {
        let column = ColumnPath::from(spec.name);
        properties = match spec.encoding {
            Encoding::Dict => properties,
            Encoding::Delta => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, ParquetEncoding::DELTA_BINARY_PACKED),
            Encoding::Split => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, ParquetEncoding::BYTE_STREAM_SPLIT),
            Encoding::Plain => properties.set_column_dictionary_enabled(column, false),
        };
    }
    properties.build()
}

/// Decodes the rows of a member; of the columns only those in `wanted`, if given.
///
/// A panic inside the Parquet reader, which damaged bytes can cause, is reported as damage.
pub(crate) fn decode<T: Table>(
    member: &crate::container::Entry,
    bytes: Bytes,
    wanted: Option<&[&str]>,
) -> Result<Rows<T>, FormatError> {
    let damaged = |what: String| FormatError::Damaged {
        member: member.name.clone(),
        at: member.header_off,
        what,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| decode_batch::<T>(bytes, wanted)));
    match outcome {
        Ok(Ok(Some(batch))) => T::open(&batch).map_err(|error| damaged(error.to_string())),
        Ok(Ok(None)) => Ok(Rows::empty()),
        Ok(Err(DecodeError::Parquet(error))) => Err(damaged(error.to_string())),
        Ok(Err(DecodeError::TooLarge(what, found, limit))) => Err(FormatError::TooLarge {
            member: member.name.clone(),
            what,
            found,
            limit,
        }),
        Err(_) => Err(damaged("its Parquet data is inconsistent".into())),
    }
}

enum DecodeError {
    Parquet(parquet::errors::ParquetError),
    TooLarge(&'static str, u64, u64),
}

impl<E: Into<parquet::errors::ParquetError>> From<E> for DecodeError {
    fn from(error: E) -> Self {
        DecodeError::Parquet(error.into())
    }
}

fn decode_batch<T: Table>(
    bytes: Bytes,
    wanted: Option<&[&str]>,
) -> Result<Option<RecordBatch>, DecodeError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load(&bytes, options)?;
    let rows = check_limits(metadata.metadata())?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata);
    let known: HashMap<&str, DataType> = T::specs()
        .into_iter()
        .map(|spec| (spec.name, spec.data_type))
        .collect();
    let parquet_schema = builder.parquet_schema();
    let roots = parquet_schema.root_schema().get_fields().iter().enumerate();
    let roots = roots.filter(|(_, field)| {
        known.contains_key(field.name()) && wanted.is_none_or(|names| names.contains(&field.name()))
    });
    let mask = ProjectionMask::roots(parquet_schema, roots.map(|(index, _)| index));
    let reader = builder
        .with_projection(mask)
        .with_batch_size(rows.max(1) as usize)
        .build()?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    match batches.len() {
        0 | 1 => Ok(batches.pop()),
        _ => Ok(Some(arrow::compute::concat_batches(&schema, &batches)?)),
    }
}

fn check_limits(metadata: &parquet::file::metadata::ParquetMetaData) -> Result<u64, DecodeError> {
    let mut rows = 0u64;
    let mut unpacked = 0u64;
    for group in metadata.row_groups() {
        rows = rows.saturating_add(u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
        for column in group.columns() {
            let size = u64::try_from(column.uncompressed_size()).unwrap_or(u64::MAX);
            unpacked = unpacked.saturating_add(size);
        }
    }
    if rows > ROWS_LIMIT {
        return Err(DecodeError::TooLarge(
            "the number of rows",
            rows,
            ROWS_LIMIT,
        ));
    }
    if unpacked > UNPACKED_LIMIT {
        return Err(DecodeError::TooLarge(
            "the unpacked size in bytes",
            unpacked,
            UNPACKED_LIMIT,
        ));
    }
    Ok(rows)
}

/// The view of one column of a batch; a view of nothing if the batch does not have it.
pub(crate) fn view<V: Value>(batch: &RecordBatch, name: &str) -> Result<V::View, FormatError> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(V::View::absent());
    };
    V::View::open(array).ok_or_else(|| FormatError::Damaged {
        member: name.to_owned(),
        at: 0,
        what: format!(
            "the column has type {}, expected {}",
            array.data_type(),
            V::data_type()
        ),
    })
}

/// Compressed bytes per column of a member: where the bytes of a capture go.
///
/// # Errors
/// [`FormatError::Damaged`] if the bytes are not a Parquet file.
pub fn column_sizes(name: &str, bytes: Bytes) -> Result<BTreeMap<String, u64>, FormatError> {
    let damaged = |what: String| FormatError::Damaged {
        member: name.to_owned(),
        at: 0,
        what,
    };
    let load = || ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new());
    let metadata = catch_unwind(AssertUnwindSafe(load))
        .map_err(|_| damaged("its Parquet footer is inconsistent".into()))?
        .map_err(|error| damaged(error.to_string()))?;
    let mut sizes = BTreeMap::new();
    for group in metadata.metadata().row_groups() {
        for column in group.columns() {
            let root = column
                .column_path()
                .parts()
                .first()
                .cloned()
                .unwrap_or_default();
            let size = u64::try_from(column.compressed_size()).unwrap_or(0);
            *sizes.entry(root).or_insert(0) += size;
        }
    }
    Ok(sizes)
}
