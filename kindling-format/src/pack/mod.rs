//! Packing: columns to Parquet column chunks, for the types that tables have.
//!
//! The Parquet writer looks each value up in a general hash table, packs indices to odd widths that
//! zstd then cannot see repetitions in, and makes a zstd context for each column. This is for flat
//! columns of numbers, words, strings and bytes; what else there is goes through that writer.
//! Layouts are those of <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.

mod compress;
mod delta;
mod dictionary;
mod runs;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    buffer::NullBuffer,
};
use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    column::{
        page::{CompressedPage, Page, PageWriter},
        writer::ColumnCloseResult,
    },
    errors::{ParquetError, Result},
    file::{
        metadata::ColumnChunkMetaData,
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};

use crate::schema::Encoding as TableEncoding;
use dictionary::Distinct;
use values::Values;

/// Longer columns are left to the Parquet writer, which cuts them into pages.
const MOST_BYTES: usize = 64 << 20;

/// A column chunk that is ready to be put into a row group.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// Packs a column; `None` if it is of a kind that is not packed here.
///
/// # Errors
/// What zstd or the Parquet library say.
pub(crate) fn column(
    descr: &ColumnDescPtr,
    array: &ArrayRef,
    encoding: TableEncoding,
    level: ZstdLevel,
) -> Result<Option<Chunk>> {
    let Some(values) = Values::of(array) else {
        return Ok(None);
    };
    if values.size_bytes() > MOST_BYTES {
        return Ok(None);
    }
    let mut pages = Pages {
        out: TrackedWrite::new(Vec::new()),
        level,
        unpacked_bytes: 0,
    };
    let mut body = Vec::new();
    if descr.max_def_level() > 0 {
        levels(array.nulls(), array.len(), &mut body);
    }
    let wants_dictionary = encoding == TableEncoding::Dict && !values.is_empty();
    let distinct = wants_dictionary.then(|| values.distinct()).flatten();
    let dictionary_page = distinct.is_some().then_some(0);
    let encoding = match distinct {
        Some(Distinct {
            dictionary,
            count,
            indices,
        }) => {
            pages.dictionary(dictionary, count)?;
            runs::indices(&indices, count, &mut body);
            Encoding::RLE_DICTIONARY
        }
        None => values.pack(encoding, &mut body),
    };
    let data_page = pages.out.bytes_written();
    // Each plane has its own distribution: zstd is to describe each by itself.
    let planes = match encoding {
        Encoding::BYTE_STREAM_SPLIT => values.planes(),
        _ => 1,
    };
    pages.data(body, planes, values.len(), array.len(), encoding)?;

    let unpacked_bytes = pages.unpacked_bytes;
    let bytes = pages.out.into_inner()?;
    let metadata = ColumnChunkMetaData::builder(Arc::clone(descr))
        .set_encodings(match dictionary_page {
            Some(_) => vec![Encoding::PLAIN, Encoding::RLE, encoding],
            None => vec![Encoding::RLE, encoding],
        })
        .set_compression(Compression::ZSTD(level))
        .set_num_values(array.len() as i64)
        .set_total_compressed_size(bytes.len() as i64)
        .set_total_uncompressed_size(unpacked_bytes as i64)
        .set_data_page_offset(data_page as i64)
        .set_dictionary_page_offset(dictionary_page)
        .build()?;
    Ok(Some(Chunk {
        close: ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: array.len() as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        },
        bytes: bytes.into(),
    }))
}

/// Appends which rows have a value: the length of the levels, and one bit for each.
fn levels(nulls: Option<&NullBuffer>, rows: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    match nulls {
        Some(nulls) if nulls.null_count() == rows => runs::repeat(0, rows, 1, out),
        Some(nulls) if nulls.null_count() > 0 => {
            runs::packed_header(rows, out);
            let bits = nulls.inner().sliced();
            let len = rows.div_ceil(8);
            out.extend_from_slice(&bits[..len]);
            // What is behind the last row is not told.
            if let (Some(last), used @ 1..) = (out.last_mut(), rows % 8) {
                *last &= (1 << used) - 1;
            }
        }
        _ => runs::repeat(1, rows, 1, out),
    }
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// The pages of a chunk as they are written.
struct Pages {
    out: TrackedWrite<Vec<u8>>,
    level: ZstdLevel,
    unpacked_bytes: usize,
}

impl Pages {
    fn dictionary(&mut self, values: Vec<u8>, count: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: compress::frame(&[&values], self.level)?,
            num_values: as_u32(count)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.write(page, values.len())
    }

    /// `planes` parts of `plane_len` bytes are the end of `body`.
    fn data(
        &mut self,
        body: Vec<u8>,
        planes: usize,
        plane_len: usize,
        rows: usize,
        encoding: Encoding,
    ) -> Result<()> {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(planes + 1);
        match body.split_at_checked(body.len().wrapping_sub(planes * plane_len)) {
            Some((head, tail)) if planes > 1 && plane_len > 0 => {
                parts.push(head);
                parts.extend(tail.chunks(plane_len));
            }
            _ => parts.push(&body),
        }
        let page = Page::DataPage {
            buf: compress::frame(&parts, self.level)?,
            num_values: as_u32(rows)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.write(page, body.len())
    }

    fn write(&mut self, page: Page, unpacked_bytes: usize) -> Result<()> {
        let page = CompressedPage::new(page, unpacked_bytes);
        let written = SerializedPageWriter::new(&mut self.out).write_page(page)?;
        self.unpacked_bytes += written.uncompressed_size;
        Ok(())
    }
}

fn as_u32(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|error| ParquetError::General(error.to_string()))
}
