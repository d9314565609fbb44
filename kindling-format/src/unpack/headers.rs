//! Page headers of a Parquet member, looked at before anything is unpacked.
//!
//! The Parquet reader allocates what a page header says and unpacks pages before their sum is known.
//! This walk over the headers alone holds them to what the footer says and to this crate's limits,
//! so that a small member cannot unpack to a large one. Headers are Thrift's compact protocol:
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>; their fields
//! are in <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::input::Input;
use crate::segment::{DICTIONARY_LIMIT, ROWS_LIMIT, UNPACKED_LIMIT, VALUES_LIMIT};

/// Why a member's pages are refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// They contradict themselves or the footer.
    Inconsistent(String),
    /// A measure of them is beyond a limit: which, its value, the limit.
    TooLarge(&'static str, u64, u64),
}

/// Checks a member's footer and page headers; returns the number of rows.
pub(crate) fn check(bytes: &[u8], metadata: &ParquetMetaData) -> Result<u64, Refused> {
    let mut rows = 0u64;
    let mut unpacked = 0u64;
    for group in metadata.row_groups() {
        let group_rows = count(group.num_rows(), "rows")?;
        rows = rows.saturating_add(group_rows);
        limit("the number of rows", rows, ROWS_LIMIT)?;
        for chunk in group.columns() {
            let size = count(chunk.uncompressed_size(), "bytes")?;
            unpacked = unpacked.saturating_add(size);
            limit("the unpacked size in bytes", unpacked, UNPACKED_LIMIT)?;
            check_chunk(bytes, chunk, group_rows).map_err(|refused| match refused {
                Refused::Inconsistent(what) => {
                    Refused::Inconsistent(format!("column {}: {what}", chunk.column_path()))
                }
                too_large => too_large,
            })?;
        }
    }
    Ok(rows)
}

fn check_chunk(bytes: &[u8], chunk: &ColumnChunkMetaData, rows: u64) -> Result<(), Refused> {
    let values = count(chunk.num_values(), "values")?;
    let repeated = chunk.column_descr().max_rep_level() > 0;
    if !repeated && values != rows {
        return inconsistent(format!("{values} values in {rows} rows"));
    }
    limit("the number of values in a column", values, VALUES_LIMIT)?;
    let data_off = count(chunk.data_page_offset(), "offset")?;
    let dictionary_off = chunk.dictionary_page_offset().unwrap_or(i64::MAX);
    let start = data_off.min(count(dictionary_off, "offset")?);
    let size = count(chunk.compressed_size(), "bytes")?;
    let pages = usize::try_from(start)
        .ok()
        .zip(usize::try_from(size).ok())
        .and_then(|(start, size)| bytes.get(start..start.checked_add(size)?));
    let Some(pages) = pages else {
        return inconsistent(format!("{size} bytes at {start} are not in the member"));
    };
    let (mut found_values, mut found_size) = (0u64, 0u64);
    let mut rest = pages;
    while !rest.is_empty() {
        let Some((page, header_len)) = Page::read(rest) else {
            return inconsistent("a page header is not readable".into());
        };
        if page.kind == DICTIONARY_PAGE {
            limit(
                "a dictionary's size in bytes",
                page.unpacked_bytes,
                DICTIONARY_LIMIT,
            )?;
            limit(
                "a dictionary's size in values",
                page.values,
                DICTIONARY_LIMIT,
            )?;
        } else {
            found_values = found_values.saturating_add(page.values);
        }
        found_size = found_size.saturating_add(page.unpacked_bytes);
        let next = usize::try_from(page.packed_bytes)
            .ok()
            .and_then(|packed| rest.get(header_len.checked_add(packed)?..));
        let Some(next) = next else {
            return inconsistent(format!("a page of {} bytes is cut", page.packed_bytes));
        };
        rest = next;
    }
    let expected_size = count(chunk.uncompressed_size(), "bytes")?;
    if found_values != values || found_size > expected_size {
        return inconsistent(format!(
            "its pages say {found_values} values in {found_size} bytes, the footer {values} in \
             {expected_size}"
        ));
    }
    Ok(())
}

fn count(value: i64, what: &str) -> Result<u64, Refused> {
    u64::try_from(value)
        .map_err(|_| Refused::Inconsistent(format!("a negative number of {what}: {value}")))
}

fn limit(what: &'static str, found: u64, limit: u64) -> Result<(), Refused> {
    if found <= limit {
        return Ok(());
    }
    Err(Refused::TooLarge(what, found, limit))
}

fn inconsistent(what: String) -> Result<(), Refused> {
    Err(Refused::Inconsistent(what))
}

const DICTIONARY_PAGE: u64 = 2;

/// What a page header says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    kind: u64,
    unpacked_bytes: u64,
    packed_bytes: u64,
    values: u64,
}

impl Page {
    /// The page whose header begins `bytes`, and the header's length.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut thrift = Thrift(Input(bytes));
        let mut page = Page::default();
        let mut field = 0;
        while let Some(kind) = thrift.field(&mut field)? {
            match (field, kind) {
                (1, I32) => page.kind = thrift.number()?,
                (2, I32) => page.unpacked_bytes = thrift.number()?,
                (3, I32) => page.packed_bytes = thrift.number()?,
                // Version 1, dictionary, version 2: the number of values is the first field of each.
                (5 | 7 | 8, STRUCT) => page.values = thrift.first_number()?,
                _ => thrift.skip(kind, SKIP_DEPTH)?,
            }
        }
        Some((page, bytes.len() - thrift.0.0.len()))
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;
/// Statistics are nested three deep; more is not a page header.
const SKIP_DEPTH: u8 = 8;

struct Thrift<'a>(Input<'a>);

impl Thrift<'_> {
    /// A number that must not be negative.
    fn number(&mut self) -> Option<u64> {
        let zigzag = self.0.varint()?;
        (zigzag & 1 == 0).then_some(zigzag >> 1)
    }

    /// The next field's type, or `Some(None)` at the end of the struct.
    fn field(&mut self, id: &mut u64) -> Option<Option<u8>> {
        let header = self.0.byte()?;
        if header == 0 {
            return Some(None);
        }
        *id = match header >> 4 {
            0 => self.number()?,
            step => *id + u64::from(step),
        };
        Some(Some(header & 0x0f))
    }

    fn first_number(&mut self) -> Option<u64> {
        let mut value = None;
        let mut field = 0;
        while let Some(kind) = self.field(&mut field)? {
            match (field, kind) {
                (1, I32) => value = Some(self.number()?),
                _ => self.skip(kind, SKIP_DEPTH)?,
            }
        }
        value
    }

    fn skip(&mut self, kind: u8, depth: u8) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            TRUE | FALSE => {}
            I8 => self.skip_bytes(1)?,
            I16 | I32 | I64 => {
                self.0.varint()?;
            }
            DOUBLE => self.skip_bytes(8)?,
            BINARY => {
                let len = usize::try_from(self.0.varint()?).ok()?;
                self.skip_bytes(len)?;
            }
            LIST | SET => {
                let header = self.0.byte()?;
                let len = match header >> 4 {
                    15 => self.0.varint()?,
                    len => len.into(),
                };
                for _ in 0..len {
                    // A list of booleans has a byte for each, unlike a field.
                    match header & 0x0f {
                        TRUE | FALSE => self.skip_bytes(1)?,
                        item => self.skip(item, depth)?,
                    }
                }
            }
            STRUCT => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn skip_bytes(&mut self, len: usize) -> Option<()> {
        self.0.take(len).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_header_is_read() {
        // type 0, 100 bytes unpacked, 40 packed, data page header {5 values, encoding 0}, end.
        let header = [
            0x15, 0x00, 0x15, 0xc8, 0x01, 0x15, 0x50, 0x2c, 0x15, 0x0a, 0x15, 0x00, 0x00, 0x00,
        ];
        let (page, len) = Page::read(&[&header[..], b"rest"].concat()).unwrap();
        let expected = Page {
            kind: 0,
            unpacked_bytes: 100,
            packed_bytes: 40,
            values: 5,
        };
        assert_eq!((page, len), (expected, header.len()));
        for cut in 0..header.len() {
            assert_eq!(Page::read(&header[..cut]), None);
        }
    }

    #[test]
    fn nesting_and_long_numbers_end() {
        assert_eq!(Page::read(&[0xff; 64]), None);
        assert_eq!(Page::read(&[0x1c; 64]), None);
        assert_eq!(Page::read(&[0x19; 64]), None);
    }
}
