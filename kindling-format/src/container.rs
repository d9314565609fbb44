//! The container: the part of ZIP that a capture uses, on byte slices.
//!
//! Members are stored, never compressed by ZIP (Parquet compresses inside), and each local header
//! carries the size and the CRC-32 of its member, so that a file without a central directory can be
//! read from the front. Sizes and offsets that do not fit 32 bits use the ZIP64 extra field.
//! The specification is PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.
//!
//! No ZIP crate reads members by reference from a memory map, writes them with the size up front to a
//! pipe, and lists them without a central directory, which is why this subset is written here.

use crate::FormatError;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;

const LOCAL_LEN: usize = 30;
const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;
const END64_LEN: usize = 56;
const LOCATOR64_LEN: usize = 20;
/// Header id and length, then two 64-bit sizes.
const LOCAL_EXTRA_LEN: usize = 4 + 16;
/// A member's name: `000000/` and a table's name.
const NAME_LIMIT: usize = 255;

/// 1980-01-01, the earliest date that ZIP can say: the same rows give the same bytes.
const DOS_DATE: u16 = 0x0021;
const VERSION_20: u16 = 20;
const VERSION_45: u16 = 45;
/// Names are UTF-8.
const FLAG_UTF8: u16 = 1 << 11;
const EXTRA_ZIP64: u16 = 0x0001;
const IN_ZIP64: u32 = u32::MAX;
const UNIX_MADE_BY: u16 = 3 << 8;
/// A regular file with mode 0600.
const UNIX_MODE: u32 = 0o100_600 << 16;

/// Where a member is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, for example `000000/syscalls.parquet`.
    pub name: String,
    /// Where its local header begins.
    pub header_off: u64,
    /// Where its bytes begin.
    pub data_off: u64,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// Their CRC-32 according to the header.
    pub crc32: u32,
}

impl Entry {
    /// Where the bytes end.
    pub fn end_off(&self) -> u64 {
        self.data_off + self.size_bytes
    }

    /// The member's bytes, without a look at the checksum.
    ///
    /// # Errors
    /// [`FormatError::Damaged`] if they do not lie within `file`.
    pub fn slice<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], FormatError> {
        let range = usize::try_from(self.data_off)
            .ok()
            .zip(usize::try_from(self.end_off()).ok());
        range
            .and_then(|(start, end)| file.get(start..end))
            .ok_or_else(|| FormatError::Damaged {
                member: self.name.clone(),
                at: self.header_off,
                what: format!(
                    "its {} bytes reach beyond the end of the file",
                    self.size_bytes
                ),
            })
    }

    /// Whether the member's bytes have the checksum that the header says.
    ///
    /// # Errors
    /// [`FormatError::Damaged`] if they have not.
    pub fn verify(&self, file: &[u8]) -> Result<(), FormatError> {
        let found = crc32fast::hash(self.slice(file)?);
        if found == self.crc32 {
            return Ok(());
        }
        Err(FormatError::Damaged {
            member: self.name.clone(),
            at: self.header_off,
            what: format!("CRC is {found:#010x}, header says {:#010x}", self.crc32),
        })
    }
}

/// The local header of a member with these bytes, to be followed by the bytes.
///
/// # Errors
/// [`FormatError::Encode`] if the name is longer than the container allows.
pub fn local_header(name: &str, data: &[u8]) -> Result<Vec<u8>, FormatError> {
    if name.is_empty() || name.len() > NAME_LIMIT {
        let what = format!(
            "its name has {} bytes, at most {NAME_LIMIT} are allowed",
            name.len()
        );
        return Err(FormatError::Encode {
            member: name.to_owned(),
            what,
        });
    }
    let size = data.len() as u64;
    let short = u32::try_from(size).ok().filter(|&size| size != IN_ZIP64);
    let mut out = Vec::with_capacity(LOCAL_LEN + name.len() + LOCAL_EXTRA_LEN);
    put32(&mut out, LOCAL);
    put16(
        &mut out,
        if short.is_some() {
            VERSION_20
        } else {
            VERSION_45
        },
    );
    put16(&mut out, FLAG_UTF8);
    put16(&mut out, 0); // stored
    put16(&mut out, 0); // time
    put16(&mut out, DOS_DATE);
    put32(&mut out, crc32fast::hash(data));
    put32(&mut out, short.unwrap_or(IN_ZIP64)); // compressed
    put32(&mut out, short.unwrap_or(IN_ZIP64)); // uncompressed
    put16(&mut out, name.len() as u16);
    put16(
        &mut out,
        if short.is_some() {
            0
        } else {
            LOCAL_EXTRA_LEN as u16
        },
    );
    out.extend_from_slice(name.as_bytes());
    if short.is_none() {
        put16(&mut out, EXTRA_ZIP64);
        put16(&mut out, 16);
        put64(&mut out, size);
        put64(&mut out, size);
    }
    Ok(out)
}

/// The central directory of these members, for a file that has it at `directory_off`.
pub fn directory(entries: &[Entry], directory_off: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        put_central(&mut out, entry);
    }
    let size = out.len() as u64;
    let count = entries.len() as u64;
    let short_count = u16::try_from(count).ok().filter(|&count| count != u16::MAX);
    let short_size = u32::try_from(size).ok().filter(|&size| size != IN_ZIP64);
    let short_off = u32::try_from(directory_off)
        .ok()
        .filter(|&off| off != IN_ZIP64);
    if short_count.is_none() || short_size.is_none() || short_off.is_none() {
        let end64_off = directory_off + size;
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
        put64(&mut out, end64_off);
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
    let short_size = u32::try_from(entry.size_bytes)
        .ok()
        .filter(|&size| size != IN_ZIP64);
    let short_off = u32::try_from(entry.header_off)
        .ok()
        .filter(|&off| off != IN_ZIP64);
    let mut extra = Vec::new();
    if short_size.is_none() {
        put64(&mut extra, entry.size_bytes);
        put64(&mut extra, entry.size_bytes);
    }
    if short_off.is_none() {
        put64(&mut extra, entry.header_off);
    }
    let version = if extra.is_empty() {
        VERSION_20
    } else {
        VERSION_45
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
    put16(
        out,
        if extra.is_empty() {
            0
        } else {
            extra.len() as u16 + 4
        },
    );
    put16(out, 0); // comment
    put16(out, 0); // disk
    put16(out, 0); // internal attributes
    put32(out, UNIX_MODE);
    put32(out, short_off.unwrap_or(IN_ZIP64));
    out.extend_from_slice(entry.name.as_bytes());
    if !extra.is_empty() {
        put16(out, EXTRA_ZIP64);
        put16(out, extra.len() as u16);
        out.extend_from_slice(&extra);
    }
}

/// The members of a file, and whether its directory was there to name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The members in the order of the file.
    pub entries: Vec<Entry>,
    /// The bytes behind the last whole member when the central directory is missing: the beginning
    /// of a member that was being written. `None` if there is a directory.
    pub unfinished_tail_bytes: Option<u64>,
}

/// Lists the members of `file`: by its central directory, or by the local headers if it ends
/// without one.
///
/// # Errors
/// [`FormatError::NotACapture`] if it does not begin with a member, [`FormatError::Damaged`] if its
/// directory contradicts itself or the members.
pub fn list(file: &[u8]) -> Result<Listing, FormatError> {
    if u32_at(file, 0) != Some(LOCAL) {
        return Err(FormatError::NotACapture {
            found: describe_start(file),
        });
    }
    match find_directory(file)? {
        Some(directory) => {
            let entries = read_directory(file, &directory)?;
            Ok(Listing {
                entries,
                unfinished_tail_bytes: None,
            })
        }
        None => {
            let entries = scan(file);
            let end = entries.last().map_or(0, Entry::end_off);
            Ok(Listing {
                entries,
                unfinished_tail_bytes: Some(file.len() as u64 - end),
            })
        }
    }
}

/// Lists the whole members from the front of `file` by their local headers; ends at the first
/// thing that is not one.
pub fn scan(file: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(entry) = read_local(file, at) {
        if entry.end_off() > file.len() as u64 {
            break;
        }
        at = entry.end_off() as usize;
        entries.push(entry);
    }
    entries
}

/// The member whose local header begins at `at`, if there is one; it may reach beyond the end.
pub fn read_local(file: &[u8], at: usize) -> Option<Entry> {
    let header = file.get(at..at.checked_add(LOCAL_LEN)?)?;
    if u32_at(header, 0)? != LOCAL || u16_at(header, 8)? != 0 {
        return None;
    }
    let name_len = u16_at(header, 26)? as usize;
    let extra_len = u16_at(header, 28)? as usize;
    if name_len == 0 || name_len > NAME_LIMIT {
        return None;
    }
    let extra_off = at + LOCAL_LEN + name_len;
    let name = std::str::from_utf8(file.get(at + LOCAL_LEN..extra_off)?).ok()?;
    let extra = file.get(extra_off..extra_off + extra_len)?;
    let (compressed, size) = (u32_at(header, 18)?, u32_at(header, 22)?);
    let mut wide = Zip64::of(extra);
    let size_bytes = wide.or_next(size)?;
    if wide.or_next(compressed)? != size_bytes {
        return None;
    }
    let data_off = (extra_off + extra_len) as u64;
    data_off.checked_add(size_bytes)?;
    Some(Entry {
        name: name.to_owned(),
        header_off: at as u64,
        data_off,
        size_bytes,
        crc32: u32_at(header, 14)?,
    })
}

struct Directory {
    at: u64,
    size: u64,
    count: u64,
}

/// The end record has no comment in a capture, so it is the last 22 bytes or it is missing.
fn find_directory(file: &[u8]) -> Result<Option<Directory>, FormatError> {
    let Some(end_off) = file.len().checked_sub(END_LEN) else {
        return Ok(None);
    };
    if u32_at(file, end_off) != Some(END) || u16_at(file, end_off + 20) != Some(0) {
        return Ok(None);
    }
    let damaged = |what: &str| FormatError::Damaged {
        member: "the central directory".into(),
        at: end_off as u64,
        what: what.into(),
    };
    let cut = || damaged("its end record is cut");
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
        let locator = end_off
            .checked_sub(LOCATOR64_LEN)
            .filter(|&locator| u32_at(file, locator) == Some(LOCATOR64))
            .ok_or_else(|| damaged("it needs a ZIP64 locator and has none"))?;
        let end64 = u64_at(file, locator + 8)
            .and_then(|off| usize::try_from(off).ok())
            .filter(|&off| u32_at(file, off) == Some(END64))
            .ok_or_else(|| damaged("its ZIP64 locator points to something else"))?;
        directory = Directory {
            count: u64_at(file, end64 + 32).ok_or_else(cut)?,
            size: u64_at(file, end64 + 40).ok_or_else(cut)?,
            at: u64_at(file, end64 + 48).ok_or_else(cut)?,
        };
        directory_end = end64 as u64;
    }
    if directory.at.checked_add(directory.size) != Some(directory_end) {
        return Err(damaged("its place and size do not fit the file"));
    }
    if directory.count > directory.size / CENTRAL_LEN as u64 {
        return Err(damaged("it counts more members than it has room for"));
    }
    Ok(Some(directory))
}

fn read_directory(file: &[u8], directory: &Directory) -> Result<Vec<Entry>, FormatError> {
    let mut entries = Vec::with_capacity(directory.count as usize);
    let mut at = directory.at as usize;
    let mut expected_off = 0;
    for number in 0..directory.count {
        let damaged = |what: &str| FormatError::Damaged {
            member: format!("entry {number} of the central directory"),
            at: at as u64,
            what: what.into(),
        };
        let (entry, next) = read_central(file, at).ok_or_else(|| damaged("it is not readable"))?;
        let local = usize::try_from(entry.header_off)
            .ok()
            .and_then(|off| read_local(file, off))
            .ok_or_else(|| damaged("the local header that it points to is not one"))?;
        if (&local.name, local.size_bytes, local.crc32)
            != (&entry.name, entry.size_bytes, entry.crc32)
        {
            return Err(damaged(&format!(
                "it says something else than the header of {}",
                local.name
            )));
        }
        // Members follow each other without gaps or overlaps; anything else was not written by us.
        if local.header_off != expected_off || local.end_off() > directory.at {
            return Err(damaged("its member is not where the one before it ends"));
        }
        expected_off = local.end_off();
        entries.push(local);
        at = next;
    }
    if at as u64 != directory.at + directory.size || expected_off != directory.at {
        return Err(FormatError::Damaged {
            member: "the central directory".into(),
            at: directory.at,
            what: "it does not name all members".into(),
        });
    }
    Ok(entries)
}

fn read_central(file: &[u8], at: usize) -> Option<(Entry, usize)> {
    let header = file.get(at..at.checked_add(CENTRAL_LEN)?)?;
    if u32_at(header, 0)? != CENTRAL || u16_at(header, 10)? != 0 {
        return None;
    }
    let name_end = at + CENTRAL_LEN + u16_at(header, 28)? as usize;
    let extra_end = name_end + u16_at(header, 30)? as usize;
    let next = extra_end + u16_at(header, 32)? as usize;
    let name = std::str::from_utf8(file.get(at + CENTRAL_LEN..name_end)?).ok()?;
    let mut wide = Zip64::of(file.get(name_end..extra_end)?);
    let size_bytes = wide.or_next(u32_at(header, 24)?)?;
    if wide.or_next(u32_at(header, 20)?)? != size_bytes {
        return None;
    }
    let header_off = wide.or_next(u32_at(header, 42)?)?;
    let crc32 = u32_at(header, 16)?;
    Some((
        Entry {
            name: name.to_owned(),
            header_off,
            data_off: 0,
            size_bytes,
            crc32,
        },
        next,
    ))
}

/// The values of a ZIP64 extra field, in their fixed order: only those that did not fit are there.
struct Zip64<'a>(&'a [u8]);

impl<'a> Zip64<'a> {
    fn of(mut extra: &'a [u8]) -> Self {
        while let (Some(id), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
            let Some(body) = extra.get(4..4 + len as usize) else {
                break;
            };
            if id == EXTRA_ZIP64 {
                return Zip64(body);
            }
            extra = &extra[4 + len as usize..];
        }
        Zip64(&[])
    }

    fn or_next(&mut self, short: u32) -> Option<u64> {
        if short != IN_ZIP64 {
            return Some(short.into());
        }
        let value = u64_at(self.0, 0)?;
        self.0 = &self.0[8..];
        Some(value)
    }
}

fn describe_start(file: &[u8]) -> String {
    match file {
        [] => "the file is empty".into(),
        [0x1f, 0x8b, ..] => "it is gzip data; unpack it first".into(),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is zstd data; unpack it first".into(),
        [b'P', b'A', b'R', b'1', ..] => {
            "it is a single Parquet file, perhaps a member of one".into()
        }
        [b'P', b'E', b'R', b'F', b'I', b'L', b'E', b'2', ..] => "it is a perf.data file".into(),
        [b'P', b'K', ..] => "it is a ZIP archive that does not begin with a stored member".into(),
        _ => {
            let start: Vec<String> = file.iter().take(8).map(|b| format!("{b:02x}")).collect();
            format!("it begins with {}", start.join(" "))
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut entries = Vec::new();
        for (name, data) in members {
            let at = out.len();
            out.extend(local_header(name, data).unwrap());
            out.extend_from_slice(data);
            entries.push(read_local(&out, at).unwrap());
        }
        let directory = directory(&entries, out.len() as u64);
        out.extend(directory);
        out
    }

    #[test]
    fn members_are_listed_by_directory_and_by_headers_alike() {
        let whole = file(&[
            ("kindling.json", b"{}"),
            ("000000/syscalls.parquet", b"PAR1"),
        ]);
        let listing = list(&whole).unwrap();
        assert_eq!(listing.unfinished_tail_bytes, None);
        assert_eq!(listing.entries, scan(&whole));
        assert_eq!(listing.entries[1].slice(&whole).unwrap(), b"PAR1");
        listing
            .entries
            .iter()
            .for_each(|entry| entry.verify(&whole).unwrap());
    }

    #[test]
    fn every_cut_lists_the_whole_members_before_it() {
        let whole = file(&[
            ("kindling.json", b"{}"),
            ("000000/clock.parquet", b"0123456789"),
        ]);
        let ends: Vec<u64> = scan(&whole).iter().map(Entry::end_off).collect();
        for cut in 4..whole.len() {
            let listing = list(&whole[..cut]).unwrap();
            let expected = ends.iter().filter(|&&end| end <= cut as u64).count();
            assert_eq!(listing.entries.len(), expected, "cut at {cut}");
            assert!(listing.unfinished_tail_bytes.is_some(), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_byte_of_a_member_fails_its_checksum() {
        let mut whole = file(&[
            ("kindling.json", b"{}"),
            ("000000/clock.parquet", b"0123456789"),
        ]);
        let entry = scan(&whole)[1].clone();
        whole[entry.data_off as usize + 3] ^= 1;
        assert!(matches!(
            entry.verify(&whole),
            Err(FormatError::Damaged { .. })
        ));
    }

    #[test]
    fn zip64_carries_what_does_not_fit() {
        let entries: Vec<Entry> = (0..3u64)
            .map(|n| Entry {
                name: format!("{n:06}/payloads.parquet"),
                header_off: n << 33,
                data_off: 0,
                size_bytes: (n << 33) + 7,
                crc32: 5,
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
    fn foreign_files_are_named() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"PERFILE2", "perf.data"),
            (b"\x1f\x8b", "gzip"),
        ] {
            let Err(FormatError::NotACapture { found }) = list(bytes) else {
                panic!("{bytes:?}")
            };
            assert!(found.contains(word), "{found}");
        }
    }
}
