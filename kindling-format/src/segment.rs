//! A member's bytes: Arrow arrays to one Parquet file and back.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{Field, FieldRef, Fields, Schema},
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowSchemaConverter,
        arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves},
    },
    basic::{Compression, Encoding as ParquetEncoding, ZstdLevel},
    errors::ParquetError,
    file::{
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr, WriterVersion},
        writer::SerializedFileWriter,
    },
    schema::types::{ColumnPath, SchemaDescriptor},
};

use crate::{
    FormatError,
    column::{Order, Rows, Store},
    pack::{Chunk, Column, Packer, Scratch},
    quiet,
    schema::{Encoding, Extent, Table},
    unpack::{self, Refused, load_metadata},
};

/// The most rows that a reader accepts in one member. The recorder writes at most 64 Ki rows of a
/// table to a segment; `compact` and `merge` stay below this too.
pub const ROWS_LIMIT: u64 = 1 << 24;
/// The most values of one column in a member: more than rows only in a column of lists.
pub const VALUES_LIMIT: u64 = 1 << 26;
/// The most bytes that the columns of one member may say they unpack to.
pub const UNPACKED_LIMIT: u64 = 1 << 30;
/// The most bytes, and the most values, of a dictionary page.
pub const DICTIONARY_LIMIT: u64 = 1 << 26;
/// The most memory that the decoded columns of one member may take.
pub const DECODED_LIMIT: u64 = 4 << 30;
/// How much work goes into making a member small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Effort {
    /// Little, beside the workload that is recorded: zstd 1.
    #[default]
    Record,
    /// Much, later, on any machine: zstd 17. Higher levels take twice the time for nothing.
    Compact,
}

impl Effort {
    fn zstd_level(self) -> i32 {
        match self {
            Effort::Record => 1,
            Effort::Compact => 17,
        }
    }
}

/// A member that is ready to be written.
#[derive(Debug, Clone)]
pub struct EncodedMember {
    /// The table.
    pub table: Cow<'static, str>,
    /// What its rows cover.
    pub extent: Extent,
    /// The Parquet file.
    pub bytes: Vec<u8>,
}

/// A member whose columns are packed one after another.
pub(crate) struct MemberWriter {
    table: &'static str,
    layout: Rc<Layout>,
    columns: Vec<Packed>,
}

enum Packed {
    Here(Chunk),
    ByLibrary(ArrowColumnChunk),
}

/// What a thread packs columns with.
struct Workshop {
    scratch: Scratch,
    packer: Packer,
}

thread_local! {
    static WORKSHOP: RefCell<Workshop> = RefCell::new(Workshop {
        scratch: Scratch::default(),
        packer: Packer::new(),
    });
}

impl MemberWriter {
    pub(crate) fn new<T: Table>(effort: Effort) -> Result<Self, FormatError> {
        let layout = Layout::of::<T>(effort).map_err(|error| refused(T::NAME, &error))?;
        Ok(Self {
            table: T::NAME,
            columns: Vec::with_capacity(layout.fields.len()),
            layout,
        })
    }

    /// Packs the table's next column, its rows taken in `order`.
    pub(crate) fn column<T>(
        &mut self,
        store: &impl Store<T>,
        order: &Order,
    ) -> Result<(), FormatError> {
        let packed = WORKSHOP.with_borrow_mut(|Workshop { scratch, packer }| {
            let column = store.column(order, scratch);
            self.layout.pack(self.columns.len(), &column, packer)
        });
        self.columns
            .push(packed.map_err(|error| refused(self.table, &error))?);
        Ok(())
    }

    pub(crate) fn finish(self, extent: Extent) -> Result<EncodedMember, FormatError> {
        let bytes = self.layout.write(self.columns);
        Ok(EncodedMember {
            table: self.table.into(),
            extent,
            bytes: bytes.map_err(|error| refused(self.table, &error))?,
        })
    }
}

fn refused(table: &str, error: &ParquetError) -> FormatError {
    FormatError::Encode {
        member: table.to_owned(),
        what: error.to_string(),
    }
}

/// How the members of a table are laid out.
struct Layout {
    fields: Fields,
    schema: SchemaDescriptor,
    properties: WriterPropertiesPtr,
    encodings: Vec<Encoding>,
    level: ZstdLevel,
}

impl Layout {
    /// Made once for each table and thread.
    fn of<T: Table>(effort: Effort) -> Result<Rc<Self>, ParquetError> {
        thread_local! {
            static MADE: RefCell<HashMap<(&'static str, Effort), Rc<Layout>>> = RefCell::default();
        }
        let key = (T::NAME, effort);
        if let Some(made) = MADE.with_borrow(|made| made.get(&key).cloned()) {
            return Ok(made);
        }
        let schema = schema_of::<T>();
        let layout = Rc::new(Self {
            schema: ArrowSchemaConverter::new().convert(&schema)?,
            fields: schema.fields,
            properties: Arc::new(properties_of::<T>(effort)),
            encodings: T::specs().into_iter().map(|spec| spec.encoding).collect(),
            level: ZstdLevel::try_new(effort.zstd_level())?,
        });
        MADE.with_borrow_mut(|made| made.insert(key, Rc::clone(&layout)));
        Ok(layout)
    }

    /// Packs the column at `index`.
    fn pack(
        &self,
        index: usize,
        column: &Column<'_>,
        packer: &mut Packer,
    ) -> Result<Packed, ParquetError> {
        let missing = || ParquetError::EOF("a column".into());
        let leaf = self.schema.columns().get(index).ok_or_else(missing)?;
        let encoding = self.encodings.get(index).ok_or_else(missing)?;
        if let Some(chunk) = packer.pack(leaf, column, *encoding, self.level)? {
            return Ok(Packed::Here(chunk));
        }
        let field = self.fields.get(index).ok_or_else(missing)?;
        let array = column.to_array(leaf).ok_or_else(missing)?;
        self.by_library(field, &array).map(Packed::ByLibrary)
    }

    fn write(&self, columns: Vec<Packed>) -> Result<Vec<u8>, ParquetError> {
        let root = self.schema.root_schema_ptr();
        let mut file = SerializedFileWriter::new(Vec::new(), root, Arc::clone(&self.properties))?;
        let mut group = file.next_row_group()?;
        for column in columns {
            match column {
                Packed::Here(Chunk { bytes, close }) => group.append_column(&bytes, close)?,
                Packed::ByLibrary(chunk) => chunk.append_to_row_group(&mut group)?,
            }
        }
        group.close()?;
        file.into_inner()
    }

    /// A column of a kind that is not packed here; it has one leaf.
    fn by_library(
        &self,
        field: &FieldRef,
        array: &ArrayRef,
    ) -> Result<ArrowColumnChunk, ParquetError> {
        let schema = Arc::new(Schema::new([Arc::clone(field)]));
        let root = ArrowSchemaConverter::new().convert(&schema)?;
        let properties = Arc::clone(&self.properties);
        let file = SerializedFileWriter::new(std::io::sink(), root.root_schema_ptr(), properties)?;
        let writers = ArrowRowGroupWriterFactory::new(&file, schema).create_column_writers(0)?;
        let leaves = compute_leaves(field, array)?;
        let (Some(mut writer), Some(leaf)) = (writers.into_iter().next(), leaves.first()) else {
            return Err(ParquetError::EOF("a column".into()));
        };
        writer.write(leaf)?;
        writer.close()
    }
}

fn schema_of<T: Table>() -> Schema {
    let fields: Vec<Field> = T::specs()
        .into_iter()
        .map(|spec| Field::new(spec.name, spec.data_type, spec.nullable))
        .collect();
    Schema::new(fields)
}

fn properties_of<T: Table>(effort: Effort) -> WriterProperties {
    let level = ZstdLevel::try_new(effort.zstd_level()).unwrap_or_default();
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
            // One page: its indices are packed to a width that fits them all, and zstd sees them all.
            Encoding::Dict => {
                properties.set_column_data_page_row_count_limit(column, ROWS_LIMIT as usize)
            }
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
    guarded(member, || {
        let known: HashSet<&str> = T::specs().into_iter().map(|spec| spec.name).collect();
        let batch = unpack::columns(bytes, |name| {
            known.contains(name) && wanted.is_none_or(|names| names.contains(&name))
        })?;
        T::open(&batch).map_err(Refused::Inconsistent)
    })
}

/// Decodes all columns of a member whose table this version does not know.
pub(crate) fn decode_any(
    member: &crate::container::Entry,
    bytes: Bytes,
) -> Result<Vec<RecordBatch>, FormatError> {
    guarded(member, || unpack::any_columns(bytes))
}

fn guarded<R>(
    member: &crate::container::Entry,
    decode: impl FnOnce() -> Result<R, Refused>,
) -> Result<R, FormatError> {
    let panicked = || {
        Err(Refused::Inconsistent(
            "its Parquet data is inconsistent".into(),
        ))
    };
    let outcome = quiet::catch(decode).unwrap_or_else(panicked);
    outcome.map_err(|refused| match refused {
        Refused::Inconsistent(what) => member.damaged(what),
        Refused::TooLarge(what, found, limit) => FormatError::TooLarge {
            member: member.name.clone(),
            what,
            found,
            limit,
        },
    })
}

/// The rows that the footer of a Parquet file says; `None` if it is not readable.
pub(crate) fn footer_rows(bytes: Bytes) -> Option<u64> {
    let metadata = quiet::catch(|| load_metadata(&bytes))?.ok()?;
    u64::try_from(metadata.metadata().file_metadata().num_rows()).ok()
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
    let metadata = quiet::catch(|| load_metadata(&bytes))
        .ok_or_else(|| damaged("its Parquet footer is inconsistent".into()))?
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
