//! Packing: columns to Parquet column chunks, for the types that tables have.
//!
//! The Parquet writer looks each value up in a general hash table, packs indices to odd widths that
//! zstd then cannot see repetitions in, and makes a zstd context for each column. This is for flat
//! columns of numbers, words, strings and bytes; what else there is goes through that writer.
//! Layouts are those of <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.

mod column;
mod compress;
mod delta;
mod dictionary;
mod runs;
#[cfg(test)]
mod tests;

use std::sync::Arc;

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

pub(crate) use column::{Bits, Column, Scratch, Values, Word};
use compress::Compressor;

/// Longer columns of strings are left to the Parquet writer, which cuts them into pages.
const MOST_BYTES: usize = 64 << 20;
/// Memory that is kept for the columns to come: enough for those of a recorder's segment.
const KEPT_BYTES: usize = 2 << 20;

/// A column chunk that is ready to be put into a row group.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// Packs columns, one after another in the same memory.
pub(crate) struct Packer {
    /// The distinct value that each row has.
    indices: Vec<u32>,
    /// A page before it is compressed.
    body: Vec<u8>,
    compressor: Compressor,
}

impl Packer {
    pub(crate) fn new() -> Self {
        Self {
            indices: Vec::new(),
            body: Vec::new(),
            compressor: Compressor::new(),
        }
    }

    /// Packs a column; `None` if it is of a kind that is not packed here, or too long.
    ///
    /// # Errors
    /// What zstd or the Parquet library say.
    pub(crate) fn pack(
        &mut self,
        descr: &ColumnDescPtr,
        column: &Column<'_>,
        encoding: TableEncoding,
        level: ZstdLevel,
    ) -> Result<Option<Chunk>> {
        let is_packed = match &column.values {
            Values::Lists(_) => false,
            Values::Bytes(values) => values.iter().map(|v| v.len()).sum::<usize>() <= MOST_BYTES,
            _ => true,
        };
        if !is_packed {
            return Ok(None);
        }
        let chunk = self.chunk(descr, column, encoding, level)?;
        self.body.shrink_to(KEPT_BYTES);
        self.compressor.shrink_to(KEPT_BYTES);
        Ok(Some(chunk))
    }

    fn chunk(
        &mut self,
        descr: &ColumnDescPtr,
        column: &Column<'_>,
        encoding: TableEncoding,
        level: ZstdLevel,
    ) -> Result<Chunk> {
        let mut pages = Pages::default();
        let values = &column.values;
        self.body.clear();
        if descr.max_def_level() > 0 {
            column.put_levels(&mut self.body);
        }
        let wants_dictionary = encoding == TableEncoding::Dict && !values.is_empty();
        let distinct = wants_dictionary.then(|| values.distinct(&mut self.indices));
        let distinct = distinct.flatten();
        let dictionary_page = distinct.is_some().then_some(0);
        let encoding = match distinct {
            Some(distinct) => {
                let buf = self.compressor.frame(&[&distinct.dictionary], level)?;
                pages.dictionary(buf, distinct.dictionary.len(), distinct.count)?;
                runs::indices(
                    &self.indices,
                    distinct.count,
                    distinct.longest_run,
                    &mut self.body,
                );
                Encoding::RLE_DICTIONARY
            }
            None => values.pack(encoding, &mut self.body),
        };
        let data_page = pages.out.bytes_written();
        // Each plane has its own distribution: zstd is to describe each by itself.
        let planes = match encoding {
            Encoding::BYTE_STREAM_SPLIT => values.planes(),
            _ => 1,
        };
        let parts = parts(&self.body, planes, values.len());
        let buf = self.compressor.frame(&parts, level)?;
        pages.data(buf, self.body.len(), column.rows(), encoding)?;

        let unpacked_bytes = pages.unpacked_bytes;
        let bytes = pages.out.into_inner()?;
        let metadata = ColumnChunkMetaData::builder(Arc::clone(descr))
            .set_encodings(match dictionary_page {
                Some(_) => vec![Encoding::PLAIN, Encoding::RLE, encoding],
                None => vec![Encoding::RLE, encoding],
            })
            .set_compression(Compression::ZSTD(level))
            .set_num_values(column.rows() as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(unpacked_bytes as i64)
            .set_data_page_offset(data_page as i64)
            .set_dictionary_page_offset(dictionary_page)
            .build()?;
        Ok(Chunk {
            close: ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: column.rows() as u64,
                metadata,
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            },
            bytes: bytes.into(),
        })
    }
}

/// `planes` parts of `plane_len` bytes are the end of `body`, and what is before them is another.
fn parts(body: &[u8], planes: usize, plane_len: usize) -> Vec<&[u8]> {
    match body.split_at_checked(body.len().wrapping_sub(planes * plane_len)) {
        Some((head, tail)) if planes > 1 && plane_len > 0 => std::iter::once(head)
            .chain(tail.chunks(plane_len))
            .collect(),
        _ => vec![body],
    }
}

/// The pages of a chunk as they are written.
struct Pages {
    out: TrackedWrite<Vec<u8>>,
    unpacked_bytes: usize,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            out: TrackedWrite::new(Vec::new()),
            unpacked_bytes: 0,
        }
    }
}

impl Pages {
    fn dictionary(&mut self, buf: Bytes, unpacked_bytes: usize, count: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf,
            num_values: as_u32(count)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.write(page, unpacked_bytes)
    }

    fn data(
        &mut self,
        buf: Bytes,
        unpacked_bytes: usize,
        rows: usize,
        encoding: Encoding,
    ) -> Result<()> {
        let page = Page::DataPage {
            buf,
            num_values: as_u32(rows)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.write(page, unpacked_bytes)
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
