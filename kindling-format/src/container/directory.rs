//! The central directory at the end of a finished capture.

use super::{
    Entry,
    bytes::{put16, put32, put64, u16_at, u32_at, u64_at},
    local::{
        DOS_DATE, EXTRA_ZIP64, Extras, FLAG_UTF8, HEADER_LIMIT, IN_ZIP64, LOCAL_LEN, VERSION_20,
        VERSION_45, Wide,
    },
};
use crate::FormatError;

pub(super) const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;

const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;
const END64_LEN: usize = 56;
const LOCATOR64_LEN: usize = 20;

const UNIX_MADE_BY: u16 = 3 << 8;
/// A regular file with mode 0600.
const UNIX_MODE: u32 = 0o100_600 << 16;

/// The central directory of these members, for a file that has it at `directory_off`.
pub fn directory(entries: &[Entry], directory_off: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        put_central(&mut out, entry);
    }
    let size = out.len() as u64;
    let count = entries.len() as u64;
    let short_count = u16::try_from(count).ok().filter(|&count| count != u16::MAX);
    let short_size = short(size);
    let short_off = short(directory_off);
    if short_count.is_none() || short_size.is_none() || short_off.is_none() {
        put32(&mut out, END64);
        put64(&mut out, END64_LEN as u64 - 12);
        put16(&mut out, UNIX_MADE_BY | VERSION_45);
        put16(&mut out, VERSION_45);
        put32(&mut out, 0); // this disk
        put32(&mut out, 0); // the directory's disk
        put64(&mut out, count);
        put64(&mut out, count);
        put64(&mut out, size);
        put64(&mut out, directory_off);
        put32(&mut out, LOCATOR64);
        put32(&mut out, 0); // its disk
        put64(&mut out, directory_off.saturating_add(size));
        put32(&mut out, 1); // disks
    }
    put32(&mut out, END);
    put16(&mut out, 0); // this disk
    put16(&mut out, 0); // the directory's disk
    put16(&mut out, short_count.unwrap_or(u16::MAX));
    put16(&mut out, short_count.unwrap_or(u16::MAX));
    put32(&mut out, short_size.unwrap_or(IN_ZIP64));
    put32(&mut out, short_off.unwrap_or(IN_ZIP64));
    put16(&mut out, 0); // comment
    out
}

fn put_central(out: &mut Vec<u8>, entry: &Entry) {
    let short_size = short(entry.size_bytes);
    let short_off = short(entry.header_off);
    let mut wide = Vec::new();
    if short_size.is_none() {
        put64(&mut wide, entry.size_bytes);
        put64(&mut wide, entry.size_bytes);
    }
    if short_off.is_none() {
        put64(&mut wide, entry.header_off);
    }
    let (version, extra_len) = match wide.len() as u16 {
        0 => (VERSION_20, 0),
        len => (VERSION_45, 4 + len),
    };
    put32(out, CENTRAL);
    put16(out, UNIX_MADE_BY | version);
    put16(out, version);
    put16(out, FLAG_UTF8);
    put16(out, 0); // stored
    put16(out, 0); // time
    put16(out, DOS_DATE);
    put32(out, entry.crc32);
    put32(out, short_size.unwrap_or(IN_ZIP64));
    put32(out, short_size.unwrap_or(IN_ZIP64));
    put16(out, entry.name.len() as u16);
    put16(out, extra_len);
    put16(out, 0); // comment
    put16(out, 0); // disk
    put16(out, 0); // internal attributes
    put32(out, UNIX_MODE);
    put32(out, short_off.unwrap_or(IN_ZIP64));
    out.extend_from_slice(entry.name.as_bytes());
    if !wide.is_empty() {
        put16(out, EXTRA_ZIP64);
        put16(out, wide.len() as u16);
        out.extend_from_slice(&wide);
    }
}

fn short(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|&value| value != IN_ZIP64)
}

/// Where the directory is, as the end record says.
pub(super) struct Directory {
    at: u64,
    size: u64,
    count: u64,
}

/// The directory of a file that ends with an end record. That has no comment in a capture, so it is
/// the last 22 bytes or it is missing.
pub(super) fn find_directory(file: &[u8]) -> Result<Option<Directory>, FormatError> {
    let Some(end_off) = file.len().checked_sub(END_LEN) else {
        return Ok(None);
    };
    if u32_at(file, end_off) != Some(END) || u16_at(file, end_off + 20) != Some(0) {
        return Ok(None);
    }
    let damaged = |what: String| FormatError::Damaged {
        member: "the end record of the central directory".into(),
        at: end_off as u64,
        what,
    };
    let cut = || damaged("it is cut".into());
    let count = u16_at(file, end_off + 10).ok_or_else(cut)?;
    let size = u32_at(file, end_off + 12).ok_or_else(cut)?;
    let at = u32_at(file, end_off + 16).ok_or_else(cut)?;
    let mut directory = Directory {
        at: at.into(),
        size: size.into(),
        count: count.into(),
    };
    let mut directory_end = end_off as u64;
    if count == u16::MAX || size == IN_ZIP64 || at == IN_ZIP64 {
        let end64 = find_end64(file, end_off).map_err(|what| damaged(what.into()))?;
        directory = Directory {
            count: u64_at(file, end64 + 32).ok_or_else(cut)?,
            size: u64_at(file, end64 + 40).ok_or_else(cut)?,
            at: u64_at(file, end64 + 48).ok_or_else(cut)?,
        };
        directory_end = end64 as u64;
    }
    let Directory { at, size, count } = directory;
    if at.checked_add(size) != Some(directory_end) {
        return Err(damaged(format!(
            "it says {size} bytes of directory at byte {at}, expected their end at {directory_end}"
        )));
    }
    if count > size / CENTRAL_LEN as u64 {
        return Err(damaged(format!(
            "it counts {count} members in {size} bytes of directory"
        )));
    }
    Ok(Some(directory))
}

fn find_end64(file: &[u8], end_off: usize) -> Result<usize, &'static str> {
    let locator = end_off
        .checked_sub(LOCATOR64_LEN)
        .filter(|&locator| u32_at(file, locator) == Some(LOCATOR64))
        .ok_or("it needs a ZIP64 locator before it and has none")?;
    u64_at(file, locator + 8)
        .and_then(|off| usize::try_from(off).ok())
        .filter(|&off| off.checked_add(END64_LEN) == Some(locator))
        .filter(|&off| u32_at(file, off) == Some(END64))
        .ok_or("its ZIP64 locator points to something else")
}

/// The members that the directory names. Their local headers are not looked at: those are all over the file, and a
/// question about a part of it needs no other part.
pub(super) fn read_directory(
    file: &[u8],
    directory: &Directory,
) -> Result<Vec<Entry>, FormatError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut at = directory.at as usize;
    for number in 0..directory.count {
        let (central, next) = read_central(file, at).ok_or_else(|| FormatError::Damaged {
            member: format!("entry {number} of the central directory"),
            at: at as u64,
            what: "it is not readable".into(),
        })?;
        entries.push(central);
        at = next;
    }
    if at as u64 != directory.at + directory.size {
        return Err(FormatError::Damaged {
            member: "the central directory".into(),
            at: directory.at,
            what: format!("its entries end at byte {at}, expected the end record there"),
        });
    }
    // Members follow each other without gaps or overlaps; anything else was not written by us.
    let mut begin = 0;
    let nexts = entries.iter().skip(1).map(|next| next.header_off);
    let ends: Vec<u64> = nexts.chain([directory.at]).collect();
    for (entry, end) in entries.iter_mut().zip(ends) {
        let data_off = end.checked_sub(entry.size_bytes);
        let header_len = data_off.and_then(|off| off.checked_sub(entry.header_off));
        let is_header =
            header_len.is_some_and(|len| (LOCAL_LEN as u64..=HEADER_LIMIT as u64).contains(&len));
        if entry.header_off != begin || !is_header {
            let (name, off, size) = (&entry.name, entry.header_off, entry.size_bytes);
            return Err(FormatError::Damaged {
                member: "the central directory".into(),
                at: directory.at,
                what: format!(
                    "it says that {name} is at byte {off} and has {size} bytes, expected a member from byte {begin} to \
                     {end}"
                ),
            });
        }
        entry.data_off = data_off.unwrap_or_default();
        begin = end;
    }
    Ok(entries)
}

pub(super) fn read_central(file: &[u8], at: usize) -> Option<(Entry, usize)> {
    let header = file.get(at..at.checked_add(CENTRAL_LEN)?)?;
    if u32_at(header, 0)? != CENTRAL || u16_at(header, 10)? != 0 {
        return None;
    }
    let name_end = at + CENTRAL_LEN + usize::from(u16_at(header, 28)?);
    let extra_end = name_end + usize::from(u16_at(header, 30)?);
    let next = extra_end + usize::from(u16_at(header, 32)?);
    let name = std::str::from_utf8(file.get(at + CENTRAL_LEN..name_end)?).ok()?;
    let mut extra = Extras(file.get(name_end..extra_end)?);
    let wide = extra.find(|&(id, _)| id == EXTRA_ZIP64);
    let mut wide = Wide(wide.map_or(&[], |(_, body)| body));
    let size_bytes = wide.or_next(u32_at(header, 24)?)?;
    if wide.or_next(u32_at(header, 20)?)? != size_bytes {
        return None;
    }
    let header_off = wide.or_next(u32_at(header, 42)?)?;
    let entry = Entry {
        name: name.to_owned(),
        header_off,
        data_off: 0,
        size_bytes,
        crc32: u32_at(header, 16)?,
        capture: None,
    };
    Some((entry, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zip64_carries_what_does_not_fit() {
        let entries: Vec<Entry> = (0..3u64)
            .map(|n| Entry {
                name: format!("{n:06}/payloads.parquet"),
                header_off: n << 33,
                data_off: 0,
                size_bytes: (n << 33) + 7,
                crc32: 5,
                capture: None,
            })
            .collect();
        let bytes = directory(&entries, 9 << 33);
        let mut at = 0;
        for entry in &entries {
            let (read, next) = read_central(&bytes, at).unwrap();
            assert_eq!(&read, entry);
            at = next;
        }
        assert_eq!(u32_at(&bytes, at), Some(END64));
        assert_eq!(u64_at(&bytes, at + 48), Some(9 << 33));
    }

    #[test]
    fn an_end_record_that_points_outside_is_damage() {
        let mut bytes = directory(&[], 0);
        assert!(find_directory(&bytes).unwrap().is_some());
        bytes[16] = 1;
        assert!(matches!(
            find_directory(&bytes),
            Err(FormatError::Damaged { .. })
        ));
        for field in 10..20 {
            bytes[field] = 0xff;
            assert!(find_directory(&bytes).is_err());
        }
    }
}
