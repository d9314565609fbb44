//! The pages of a member, unpacked with one zstd context a thread.
//!
//! The Parquet reader makes two contexts for every column of every member, and each asks the CPU for
//! its features. In a virtual machine each question is an exit to the hypervisor: a sixth of all
//! decoding time. Here the reader sees columns that say they are not compressed, and the pages that it
//! cuts out are unpacked on their way.

use std::{cell::RefCell, ops::Range, sync::Arc};

use arrow::datatypes::Fields;
use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowGroups},
    basic::Compression,
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::Result,
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        serialized_reader::SerializedPageReader,
    },
    schema::types::SchemaDescriptor,
};
use zstd::{bulk::Decompressor, zstd_safe};

use super::{
    damage,
    headers::{self, Refused},
};

thread_local! {
    static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The footer of a Parquet file, with the Arrow types that follow from it alone.
pub(crate) fn load_metadata(bytes: &Bytes) -> Result<ArrowReaderMetadata> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ArrowReaderMetadata::load(bytes, options)
}

/// A member whose pages were checked.
pub(super) struct CheckedMember {
    bytes: Arc<Bytes>,
    footer: ArrowReaderMetadata,
    rows: usize,
}

impl CheckedMember {
    /// # Errors
    /// What is wrong with the footer or a page's header, or which limit they are beyond.
    pub(super) fn open(bytes: Bytes) -> std::result::Result<Self, Refused> {
        let footer = load_metadata(&bytes)?;
        let rows = headers::check(&bytes, footer.metadata())?;
        Ok(Self {
            bytes: Arc::new(bytes),
            footer,
            rows: rows as usize,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, and the Arrow types that they have.
    pub(super) fn fields(&self) -> &Fields {
        self.footer.schema().fields()
    }

    pub(super) fn schema(&self) -> &SchemaDescriptor {
        self.footer.parquet_schema()
    }
}

impl RowGroups for CheckedMember {
    fn num_rows(&self) -> usize {
        self.rows
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        Ok(Box::new(Chunks {
            bytes: Arc::clone(&self.bytes),
            metadata: Arc::clone(self.footer.metadata()),
            column,
            groups: 0..self.footer.metadata().num_row_groups(),
        }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.footer.metadata().row_groups().iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.footer.metadata()
    }
}

/// The chunks of a column, one in each row group.
struct Chunks {
    bytes: Arc<Bytes>,
    metadata: Arc<ParquetMetaData>,
    column: usize,
    groups: Range<usize>,
}

impl Chunks {
    fn open(&self, group: usize) -> Result<Box<dyn PageReader>> {
        let group = self.metadata.row_group(group);
        let chunk = group.column(self.column);
        let rows = usize::try_from(group.num_rows())?;
        let bytes = Arc::clone(&self.bytes);
        if !matches!(chunk.compression(), Compression::ZSTD(_)) {
            return Ok(Box::new(SerializedPageReader::new(
                bytes, chunk, rows, None,
            )?));
        }
        let plain = chunk.clone().into_builder();
        let plain = plain.set_compression(Compression::UNCOMPRESSED).build()?;
        Ok(Box::new(UnpackedPages {
            packed: SerializedPageReader::new(bytes, &plain, rows, None)?,
            room: usize::try_from(chunk.uncompressed_size())?,
        }))
    }
}

impl Iterator for Chunks {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.groups.next()?;
        Some(self.open(group))
    }
}

impl PageIterator for Chunks {}

/// The pages of a chunk, unpacked.
struct UnpackedPages {
    packed: SerializedPageReader<Bytes>,
    /// How many bytes the chunk may still unpack to.
    room: usize,
}

impl UnpackedPages {
    fn unpack(&mut self, page: Page) -> Result<Page> {
        let mut page = page;
        let levels = match &page {
            Page::DataPage { .. } | Page::DictionaryPage { .. } => 0,
            Page::DataPageV2 {
                is_compressed: false,
                ..
            } => return Ok(page),
            Page::DataPageV2 {
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => *def_levels_byte_len as usize + *rep_levels_byte_len as usize,
        };
        let (Page::DataPage { buf, .. }
        | Page::DictionaryPage { buf, .. }
        | Page::DataPageV2 { buf, .. }) = &mut page;
        *buf = self.unpack_behind(levels, buf)?;
        Ok(page)
    }

    /// Unpacks what is behind the levels, which version 2 pages do not pack.
    fn unpack_behind(&mut self, levels: usize, packed: &[u8]) -> Result<Bytes> {
        let Some((levels, packed)) = packed.split_at_checked(levels) else {
            return Err(damage("its levels are longer than the page"));
        };
        let known = zstd_safe::get_frame_content_size(packed).ok().flatten();
        let len = known.map_or(self.room, |len| usize::try_from(len).unwrap_or(usize::MAX));
        if levels.len().saturating_add(len) > self.room {
            return Err(damage("it unpacks to more than the footer says"));
        }
        let mut unpacked = levels.to_vec();
        unpacked.reserve_exact(len);
        if !packed.is_empty() {
            decompress(packed, &mut unpacked)?;
        }
        self.room = self.room.saturating_sub(unpacked.len());
        Ok(unpacked.into())
    }
}

/// Appends what `packed` unpacks to, up to the capacity of `unpacked`.
fn decompress(packed: &[u8], unpacked: &mut Vec<u8>) -> Result<()> {
    CONTEXT.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            None => context.insert(Decompressor::new()?),
        };
        let mut out = std::io::Cursor::new(unpacked);
        out.set_position(out.get_ref().len() as u64);
        context.decompress_to_buffer(packed, &mut out)?;
        Ok(())
    })
}

impl Iterator for UnpackedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for UnpackedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.packed.get_next_page()?;
        page.map(|page| self.unpack(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.packed.skip_next_page()
    }
}
