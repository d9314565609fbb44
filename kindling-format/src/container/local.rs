//! Local headers: what stands before the bytes of a member.
//!
//! Each carries a private extra field, the mark, with the capture's id and a checksum of the header
//! itself. It is what lets a reader without a central directory tell a damaged header from a member
//! that is still being written, and a member from the bytes of another capture inside a payload.

use super::{
    Entry,
    bytes::{put16, put32, put64, u16_at, u32_at, u64_at},
};
use crate::FormatError;

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const LOCAL_LEN: usize = 30;
/// A member's name: `000000/` and a table's name.
const NAME_LIMIT: usize = 255;
/// The most bytes of extra fields that a reader accepts: ZIP64, the mark, and what archivers add.
const EXTRA_LIMIT: usize = 255;
/// The longest local header that a reader accepts.
pub(super) const HEADER_LIMIT: usize = LOCAL_LEN + NAME_LIMIT + EXTRA_LIMIT;

/// 1980-01-01, the earliest date that ZIP can say: the same rows give the same bytes.
pub(super) const DOS_DATE: u16 = 0x0021;
pub(super) const VERSION_20: u16 = 20;
pub(super) const VERSION_45: u16 = 45;
/// Names are UTF-8.
pub(super) const FLAG_UTF8: u16 = 1 << 11;
/// Encrypted, sizes behind the data, patch data, masked header: nothing that a capture has.
const FLAGS_REFUSED: u16 = 1 | 1 << 3 | 1 << 5 | 1 << 13;
pub(super) const EXTRA_ZIP64: u16 = 0x0001;
pub(super) const IN_ZIP64: u32 = u32::MAX;
/// "Kn": the capture's id and the CRC-32 of all header bytes before it, four bytes each.
const EXTRA_MARK: u16 = 0x6e4b;
const MARK_LEN: u16 = 8;

/// The local header of a member, to be followed by its bytes.
///
/// `capture` is the capture's id: the CRC-32 of its first member's bytes.
///
/// # Errors
/// [`FormatError::Encode`] if the name is empty or longer than the container allows.
pub fn local_header(
    name: &str,
    size_bytes: u64,
    crc32: u32,
    capture: u32,
) -> Result<Vec<u8>, FormatError> {
    let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
    if name.is_empty() || name.len() > NAME_LIMIT {
        return Err(FormatError::Encode {
            member: name.to_owned(),
            what: format!(
                "its name has {} bytes, 1 to {NAME_LIMIT} are allowed",
                name.len()
            ),
        });
    }
    let short = u32::try_from(size_bytes).ok().filter(|&s| s != IN_ZIP64);
    let (version, wide_len) = match short {
        Some(_) => (VERSION_20, 0),
        None => (VERSION_45, 4 + 16),
    };
    let mut out = Vec::with_capacity(HEADER_LIMIT);
    put32(&mut out, LOCAL);
    put16(&mut out, version);
    put16(&mut out, FLAG_UTF8);
    put16(&mut out, 0); // stored
    put16(&mut out, 0); // time
    put16(&mut out, DOS_DATE);
    put32(&mut out, crc32);
    put32(&mut out, short.unwrap_or(IN_ZIP64)); // compressed
    put32(&mut out, short.unwrap_or(IN_ZIP64)); // uncompressed
    put16(&mut out, name_len);
    put16(&mut out, wide_len + 4 + MARK_LEN);
    out.extend_from_slice(name.as_bytes());
    if short.is_none() {
        put16(&mut out, EXTRA_ZIP64);
        put16(&mut out, 16);
        put64(&mut out, size_bytes);
        put64(&mut out, size_bytes);
    }
    put16(&mut out, EXTRA_MARK);
    put16(&mut out, MARK_LEN);
    put32(&mut out, capture);
    let checksum = crc32fast::hash(&out);
    put32(&mut out, checksum);
    Ok(out)
}

/// The member whose local header begins at `at`, if there is one; its bytes may reach beyond the
/// end of `file`.
///
/// A header whose mark has the wrong checksum is not a header. One without a mark is accepted here
/// and reported in [`Entry::capture`].
pub fn read_local(file: &[u8], at: usize) -> Option<Entry> {
    let header = file.get(at..)?;
    let flags = u16_at(header, 6)?;
    let method = u16_at(header, 8)?;
    if u32_at(header, 0)? != LOCAL || flags & FLAGS_REFUSED != 0 || method != 0 {
        return None;
    }
    let name_len = usize::from(u16_at(header, 26)?);
    let extra_len = usize::from(u16_at(header, 28)?);
    if name_len == 0 || name_len > NAME_LIMIT || extra_len > EXTRA_LIMIT {
        return None;
    }
    let extra_off = LOCAL_LEN + name_len;
    let header = header.get(..extra_off + extra_len)?;
    let name = std::str::from_utf8(header.get(LOCAL_LEN..extra_off)?).ok()?;
    let mut wide = Wide::default();
    let mut capture = None;
    let mut field_off = extra_off;
    for (id, body) in Extras(header.get(extra_off..)?) {
        match id {
            EXTRA_ZIP64 => wide = Wide(body),
            EXTRA_MARK => {
                let covered = header.get(..field_off + 4 + 4)?;
                if u32_at(body, 4)? != crc32fast::hash(covered) {
                    return None;
                }
                capture = Some(u32_at(body, 0)?);
            }
            _ => {}
        }
        field_off += 4 + body.len();
    }
    let size_bytes = wide.or_next(u32_at(header, 22)?)?;
    if wide.or_next(u32_at(header, 18)?)? != size_bytes {
        return None;
    }
    let data_off = (at + extra_off + extra_len) as u64;
    data_off.checked_add(size_bytes)?;
    Some(Entry {
        name: name.to_owned(),
        header_off: at as u64,
        data_off,
        size_bytes,
        crc32: u32_at(header, 14)?,
        capture,
    })
}

/// The extra fields of a header: id and body.
pub(super) struct Extras<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Extras<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let id = u16_at(self.0, 0)?;
        let end = 4 + usize::from(u16_at(self.0, 2)?);
        let body = self.0.get(4..end)?;
        self.0 = self.0.get(end..)?;
        Some((id, body))
    }
}

/// The values of a ZIP64 extra field, in their fixed order: only those that did not fit are there.
#[derive(Default)]
pub(super) struct Wide<'a>(pub(super) &'a [u8]);

impl Wide<'_> {
    pub(super) fn or_next(&mut self, short: u32) -> Option<u64> {
        if short != IN_ZIP64 {
            return Some(short.into());
        }
        let value = u64_at(self.0, 0)?;
        self.0 = self.0.get(8..)?;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_no_flip_of_it_goes_unseen() {
        for size_bytes in [0, 5, u64::from(u32::MAX), 1 << 40] {
            let header = local_header("000000/syscalls.parquet", size_bytes, 7, 9).unwrap();
            let entry = read_local(&header, 0).unwrap();
            assert_eq!((entry.size_bytes, entry.crc32), (size_bytes, 7));
            assert_eq!(
                (entry.capture, entry.data_off),
                (Some(9), header.len() as u64)
            );
            for bit in 0..header.len() * 8 {
                let mut flipped = header.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                // A flip in the mark's own id or length hides the mark: then there is none.
                let seen = read_local(&flipped, 0).and_then(|entry| entry.capture);
                assert_eq!(seen, None, "bit {bit}");
            }
        }
    }

    #[test]
    fn names_have_bounds() {
        assert!(local_header("", 0, 0, 0).is_err());
        assert!(local_header(&"x".repeat(256), 0, 0, 0).is_err());
        assert!(local_header(&"x".repeat(255), 0, 0, 0).is_ok());
    }

    #[test]
    fn headers_of_other_archivers_are_refused_when_sizes_follow_the_data() {
        let mut header = local_header("kindling.json", 2, 0, 0).unwrap();
        header[6] |= 1 << 3;
        assert_eq!(read_local(&header, 0), None);
    }
}
