//! The container: the part of ZIP that a capture uses, on byte slices.
//!
//! Members are stored, never compressed by ZIP (Parquet compresses inside), and each local header
//! carries the size and the CRC-32 of its member, so that a file without a central directory can be
//! read from the front. Sizes and offsets that do not fit 32 bits use the ZIP64 extra field.
//! The specification is PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.
//!
//! No ZIP crate reads members by reference from a memory map, writes them with the size up front to a
//! pipe, and lists them without a central directory, which is why this subset is written here.

mod bytes;
mod directory;
mod local;

use std::collections::{BTreeMap, HashSet};

pub use directory::directory;
pub use local::{local_header, read_local};

use crate::FormatError;

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
    /// The id of the capture that its header names; `None` if another program wrote the header, or it was not
    /// looked at.
    pub capture: Option<u32>,
}

impl Entry {
    /// Where the bytes end.
    pub fn end_off(&self) -> u64 {
        self.data_off.saturating_add(self.size_bytes)
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
            .ok_or_else(|| {
                self.damaged(format!(
                    "its {} bytes reach beyond the end of the file at {}",
                    self.size_bytes,
                    file.len()
                ))
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
        Err(self.damaged(format!(
            "CRC is {found:#010x}, header says {:#010x}",
            self.crc32
        )))
    }

    /// Whether the member's local header says what this entry says. One that the central directory names can be read
    /// without, but not in a file that has lost its directory.
    ///
    /// # Errors
    /// [`FormatError::Damaged`] if it does not.
    pub fn verify_header(&self, file: &[u8]) -> Result<(), FormatError> {
        let header = usize::try_from(self.header_off).ok();
        let header = header.and_then(|off| read_local(file, off));
        let header = header.ok_or_else(|| self.damaged("its local header is damaged".into()))?;
        let say = |entry: &Entry| {
            let Entry {
                name,
                size_bytes,
                crc32,
                ..
            } = entry;
            format!("{name} with {size_bytes} bytes and CRC {crc32:#010x}")
        };
        let is_same = (
            &header.name,
            header.crc32,
            header.data_off,
            header.size_bytes,
        ) == (&self.name, self.crc32, self.data_off, self.size_bytes);
        match is_same {
            true => Ok(()),
            false => Err(self.damaged(format!(
                "its local header says {}, expected {}",
                say(&header),
                say(self)
            ))),
        }
    }

    pub(crate) fn damaged(&self, what: String) -> FormatError {
        FormatError::Damaged {
            member: self.name.clone(),
            at: self.header_off,
            what,
        }
    }
}

/// The members of a file, and whether its directory was there to name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The members in the order of the file.
    pub entries: Vec<Entry>,
    /// The bytes behind the last whole member when the central directory is missing: the beginning
    /// of what was being written. `None` if there is a directory.
    pub unfinished_tail_bytes: Option<u64>,
}

/// Lists the members of `file`: by its central directory, or by the local headers if it ends
/// without one.
///
/// # Errors
/// [`FormatError::NotACapture`] if it does not begin with a member, [`FormatError::Damaged`] if its
/// directory contradicts itself or the first member, or if it has neither a directory nor an end that an
/// interrupted writer leaves.
pub fn list(file: &[u8]) -> Result<Listing, FormatError> {
    let first = first_member(file)?;
    let listing = match directory::find_directory(file)? {
        Some(directory) => {
            let mut entries = directory::read_directory(file, &directory)?;
            if let Some(entry) = entries.first_mut() {
                entry.verify_header(file)?;
                *entry = first;
            }
            Listing {
                entries,
                unfinished_tail_bytes: None,
            }
        }
        None => list_unfinished(file, &first)?,
    };
    let mut names = HashSet::with_capacity(listing.entries.len());
    match listing.entries.iter().find(|e| !names.insert(&*e.name)) {
        Some(second) => Err(second.damaged("a member before it has the same name".into())),
        None => Ok(listing),
    }
}

fn first_member(file: &[u8]) -> Result<Entry, FormatError> {
    if let Some(first) = read_local(file, 0) {
        return Ok(first);
    }
    if bytes::u32_at(file, 0) != Some(local::LOCAL) {
        let found = describe_start(file);
        return Err(FormatError::NotACapture { found });
    }
    Err(FormatError::Damaged {
        member: "the first member".into(),
        at: 0,
        what: "its local header is cut or damaged".into(),
    })
}

/// Lists the members of a file without a directory and judges how it ends.
fn list_unfinished(file: &[u8], first: &Entry) -> Result<Listing, FormatError> {
    let Some(capture) = first.capture else {
        return Err(FormatError::Damaged {
            member: "the central directory".into(),
            at: file.len() as u64,
            what: "it is missing, and members that another program archived cannot be listed \
                   without it"
                .into(),
        });
    };
    let mut entries = scan(file, 0, capture);
    let end = entries.last().map_or(0, Entry::end_off);
    let tail = file.get(end as usize..).unwrap_or_default();
    judge_tail(tail, end, &entries)?;
    // After a power loss a file can have its full length and not yet its bytes: members at the end
    // that fail their checksum were still on their way to the disk.
    while entries.len() > 1 && entries.last().is_some_and(|e| e.verify(file).is_err()) {
        entries.pop();
    }
    let end = entries.last().map_or(0, Entry::end_off);
    Ok(Listing {
        entries,
        unfinished_tail_bytes: Some(file.len() as u64 - end),
    })
}

/// Whether an interrupted writer can have left `tail` behind these members: the beginning of a
/// member or of the directory, or zeros that a file system put where bytes had not arrived yet.
fn judge_tail(tail: &[u8], at: u64, entries: &[Entry]) -> Result<(), FormatError> {
    let directory = directory::directory(entries, at);
    let signature = local::LOCAL.to_le_bytes();
    let signature_len = tail.len().min(signature.len());
    let starts_as_member = tail.get(..signature_len) == signature.get(..signature_len);
    let cut_header = starts_as_member && tail.len() < local::HEADER_LIMIT;
    let cut_member = read_local(tail, 0).is_some_and(|entry| entry.capture.is_some());
    let zeros = || tail.iter().all(|&byte| byte == 0);
    if directory.starts_with(tail) || cut_header || cut_member || zeros() {
        return Ok(());
    }
    let (member, at, what) = if let Some(rest) = tail.strip_prefix(&directory[..]) {
        let at = at + directory.len() as u64;
        let what = format!("{} bytes follow the end of the capture", rest.len());
        ("the end of the file", at, what)
    } else {
        let expected = "expected a member's header, the central directory or the end of the file";
        let what = format!("{expected}, found {}", hex(tail));
        ("a part between members", at, what)
    };
    Err(FormatError::Damaged {
        member: member.into(),
        at,
        what,
    })
}

/// Lists the whole members of capture `capture` from `at` on by their local headers; ends at the
/// first thing that is not one.
pub fn scan(file: &[u8], mut at: usize, capture: u32) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some(entry) = read_local(file, at) {
        if entry.end_off() > file.len() as u64 || entry.capture != Some(capture) {
            break;
        }
        at = entry.end_off() as usize;
        entries.push(entry);
    }
    entries
}

/// The next local header of `capture` at or behind `at`, whatever lies before it.
pub fn find_local(file: &[u8], at: usize, capture: u32) -> Option<Entry> {
    let places = find_signature(file, at, local::LOCAL);
    let mut headers = places.filter_map(|at| read_local(file, at));
    headers.find(|entry| entry.capture == Some(capture))
}

/// The first local header of any capture, wherever it is.
pub fn find_any_local(file: &[u8]) -> Option<Entry> {
    let places = find_signature(file, 0, local::LOCAL);
    let mut headers = places.filter_map(|at| read_local(file, at));
    headers.find(|entry| entry.capture.is_some())
}

/// What is left of a central directory.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// Where it begins; the end of the file if there is none.
    pub(crate) at: usize,
    /// The members that it names by the offset of their local headers. Their bytes are where our
    /// own headers would put them.
    pub(crate) entries: BTreeMap<u64, Entry>,
}

/// Looks for a central directory, or a part of one, behind the last local header of `capture`.
pub(crate) fn find_remains(file: &[u8], capture: u32) -> Remains {
    let headers = find_signature(file, 0, local::LOCAL).filter_map(|at| read_local(file, at));
    let last = headers
        .filter(|entry| entry.capture == Some(capture))
        .last();
    let from = last.map_or(0, |last| match last.verify(file) {
        Ok(()) => last.end_off(),
        Err(_) => last.data_off,
    });
    let mut remains = Remains {
        at: file.len(),
        ..Remains::default()
    };
    for at in find_signature(file, from as usize, directory::CENTRAL) {
        let Some((entry, _)) = directory::read_central(file, at) else {
            continue;
        };
        remains.at = remains.at.min(at);
        let header = local_header(&entry.name, entry.size_bytes, entry.crc32, capture);
        let header_len = header.map_or(0, |header| header.len() as u64);
        let entry = Entry {
            data_off: entry.header_off.saturating_add(header_len),
            capture: Some(capture),
            ..entry
        };
        remains.entries.insert(entry.header_off, entry);
    }
    remains
}

fn find_signature(file: &[u8], from: usize, signature: u32) -> impl Iterator<Item = usize> {
    let signature = signature.to_le_bytes();
    let windows = file.get(from..).unwrap_or_default().windows(4).enumerate();
    windows.filter_map(move |(off, window)| (window == signature).then_some(from + off))
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
        _ => format!("it begins with {}", hex(file)),
    }
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    bytes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: u32 = 77;

    fn file(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut entries = Vec::new();
        for (name, data) in members {
            let at = out.len();
            let crc32 = crc32fast::hash(data);
            out.extend(local_header(name, data.len() as u64, crc32, CAPTURE).unwrap());
            out.extend_from_slice(data);
            entries.push(read_local(&out, at).unwrap());
        }
        let directory = directory(&entries, out.len() as u64);
        out.extend(directory);
        out
    }

    fn two() -> Vec<u8> {
        file(&[
            ("kindling.json", b"{}"),
            ("000000/clock.parquet", b"0123456789"),
        ])
    }

    #[test]
    fn members_are_listed_by_directory_and_by_headers_alike() {
        let whole = two();
        let listing = list(&whole).unwrap();
        assert_eq!(listing.unfinished_tail_bytes, None);
        let mut by_headers = scan(&whole, 0, CAPTURE);
        by_headers[1].capture = None;
        assert_eq!(listing.entries, by_headers);
        assert_eq!(listing.entries[1].slice(&whole).unwrap(), b"0123456789");
        for entry in &listing.entries {
            entry.verify(&whole).unwrap();
            entry.verify_header(&whole).unwrap();
        }
    }

    #[test]
    fn a_damaged_header_keeps_no_other_member_from_being_read() {
        let whole = two();
        let second = list(&whole).unwrap().entries[1].clone();
        for at in second.header_off..second.data_off {
            let mut bytes = whole.clone();
            bytes[at as usize] ^= 0x10;
            let listing = list(&bytes).unwrap();
            assert_eq!(listing.entries, list(&whole).unwrap().entries, "byte {at}");
            listing.entries[1].verify(&bytes).unwrap();
            // Dates, versions and the marks of others are nothing that a reader needs.
            let header = read_local(&bytes, second.header_off as usize);
            let is_whole = header.is_some_and(|header| header.capture.is_some());
            assert!(!is_whole, "byte {at}");
        }
        let mut bytes = whole;
        bytes[second.header_off as usize + 14] ^= 1;
        assert!(second.verify_header(&bytes).is_err());
    }

    #[test]
    fn every_cut_lists_the_whole_members_before_it() {
        let whole = two();
        let ends: Vec<u64> = list(&whole)
            .unwrap()
            .entries
            .iter()
            .map(Entry::end_off)
            .collect();
        let first_header = 30 + "kindling.json".len() + 12;
        for cut in first_header..whole.len() {
            let listing = list(&whole[..cut]).unwrap();
            let expected = ends.iter().filter(|&&end| end <= cut as u64).count();
            assert_eq!(listing.entries.len(), expected, "cut at {cut}");
            assert!(listing.unfinished_tail_bytes.is_some(), "cut at {cut}");
        }
    }

    #[test]
    fn what_a_power_loss_leaves_is_unfinished() {
        let whole = two();
        let entries = list(&whole).unwrap().entries;
        let mut zeros_behind = whole[..entries[1].end_off() as usize].to_vec();
        zeros_behind.extend([0; 4096]);
        assert_eq!(
            list(&zeros_behind).unwrap().unfinished_tail_bytes,
            Some(4096)
        );
        let mut zeros_within = whole[..entries[1].end_off() as usize].to_vec();
        zeros_within[entries[1].data_off as usize..].fill(0);
        assert_eq!(list(&zeros_within).unwrap().entries.len(), 1);
    }

    #[test]
    fn what_no_writer_leaves_is_damage() {
        let whole = two();
        let entries = list(&whole).unwrap().entries;
        let second = entries[1].header_off as usize;
        let behind = entries[1].end_off() as usize;
        let flipped_header = |at: usize| {
            let mut bytes = whole[..behind].to_vec();
            bytes[second + at] ^= 0x10;
            bytes.extend([1; local::HEADER_LIMIT]);
            bytes
        };
        for (name, bytes) in [
            ("appended", [&whole[..], b"more"].concat()),
            ("header's signature", flipped_header(0)),
            ("header's size", flipped_header(25)),
            ("foreign bytes", [&whole[..behind], b"something"].concat()),
            ("same name", file(&[("a", b"1"), ("a", b"1")])),
            ("directory", {
                let mut bytes = whole.clone();
                bytes[behind + 20] ^= 1;
                bytes
            }),
        ] {
            let result = list(&bytes);
            assert!(
                matches!(result, Err(FormatError::Damaged { .. })),
                "{name}: {result:?}"
            );
        }
    }

    #[test]
    fn members_are_found_again_behind_a_damaged_part() {
        let whole = two();
        let second = scan(&whole, 0, CAPTURE)[1].clone();
        assert_eq!(find_local(&whole, 5, CAPTURE), Some(second.clone()));
        assert_eq!(find_local(&whole, 5, CAPTURE + 1), None);
        assert_eq!(find_local(&whole, second.end_off() as usize, CAPTURE), None);
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
