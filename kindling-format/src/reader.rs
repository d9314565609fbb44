//! Reading a capture: its members, its state, and the rows of a table in a segment.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;

use crate::{
    FormatError, Header, Summary,
    column::Rows,
    container::{self, Entry},
    header::{FORMAT, HEADER_MEMBER, INDEX_MEMBER, SUMMARY_MEMBER},
    mmap::{self, FileBytes},
    schema::{Index, Table},
    segment,
};

/// An open capture. Cheap to share between threads: it holds the file's bytes by reference.
#[derive(Debug, Clone)]
pub struct Capture {
    file: FileBytes,
    entries: Vec<Entry>,
    members: BTreeMap<u32, BTreeMap<String, Member>>,
    header: Header,
    completion: Completion,
}

/// Whether the recorder got to the end of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Completion {
    /// It did.
    Finished(Summary),
    /// The central directory is missing: the recorder was killed, is still writing, or the copy was
    /// cut. Every whole member is good.
    Unfinished {
        /// Bytes at the end that are no whole member.
        tail_bytes: u64,
    },
}

/// A table's rows in one segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Where it is.
    pub entry: Entry,
    /// Its row in the index; `None` in an unfinished capture.
    pub index: Option<Index>,
}

impl Capture {
    /// Opens the capture at `path`.
    ///
    /// # Errors
    /// As [`Capture::from_bytes`], and [`FormatError::Io`] if the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        Self::from_file(mmap::open(path)?.read_in_parts())
    }

    /// Opens a capture that is in memory.
    ///
    /// # Errors
    /// [`FormatError::NotACapture`], [`FormatError::Newer`] or [`FormatError::Damaged`] if the
    /// container, the header or the index cannot be read. Table members are looked at when they
    /// are read.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, FormatError> {
        Self::from_file(bytes.into())
    }

    fn from_file(file: FileBytes) -> Result<Self, FormatError> {
        let bytes = &file.bytes;
        let listing = container::list(bytes)?;
        let header = read_header(bytes, &listing)?;
        let find = |name: &str| listing.entries.iter().find(|entry| entry.name == name);
        let completion = match listing.unfinished_tail_bytes {
            Some(tail_bytes) => Completion::Unfinished { tail_bytes },
            None => Completion::Finished(match find(SUMMARY_MEMBER) {
                Some(entry) => read_json(bytes, entry)?,
                None => Summary::default(),
            }),
        };
        let mut index = BTreeMap::new();
        if let Some(entry) = find(INDEX_MEMBER) {
            let bytes = member_bytes(&file, entry)?;
            for row in segment::decode::<Index>(entry, bytes, None)?.iter() {
                index.insert(row.offset, row);
            }
        }
        let mut members: BTreeMap<u32, BTreeMap<String, Member>> = BTreeMap::new();
        for entry in &listing.entries {
            let member = table_member(&entry.name);
            // An index row counts only if it speaks of this very member.
            let index = index.remove(&entry.header_off).filter(|row| {
                member == Some((row.segment, &row.table)) && row.size_bytes == entry.size_bytes
            });
            // What the directory says is compared with the index, or else with the member's own header.
            if index.is_none() {
                entry.verify_header(bytes)?;
            }
            if let Some((segment, table)) = member {
                let entry = entry.clone();
                let tables = members.entry(segment).or_default();
                tables.insert(table.to_owned(), Member { entry, index });
            }
        }
        Ok(Self {
            file,
            entries: listing.entries,
            members,
            header,
            completion,
        })
    }

    /// What was known when recording began.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the recorder got to the end, and what it said there.
    pub fn completion(&self) -> &Completion {
        &self.completion
    }

    /// The summary of a finished capture.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.completion {
            Completion::Finished(summary) => Some(summary),
            Completion::Unfinished { .. } => None,
        }
    }

    /// The size of the file.
    pub fn size_bytes(&self) -> u64 {
        self.file.bytes.len() as u64
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.file.bytes
    }

    /// All members of the container, the ones that hold no table included.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The numbers of the segments, rising.
    pub fn segments(&self) -> impl Iterator<Item = u32> + '_ {
        self.members.keys().copied()
    }

    /// The numbers of the segments before one, rising.
    pub fn segments_before(&self, segment: u32) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.members.range(..segment).map(|(number, _)| *number)
    }

    /// The members of a segment by table.
    pub fn members(&self, segment: u32) -> impl Iterator<Item = (&str, &Member)> {
        let tables = self.members.get(&segment).into_iter().flatten();
        tables.map(|(table, member)| (table.as_str(), member))
    }

    /// The rows of table `T` in a segment; no rows if the segment has none.
    ///
    /// # Errors
    /// [`FormatError::Damaged`] if the member fails its checksum or is no Parquet file of that
    /// table, [`FormatError::TooLarge`] if it would unpack to more than this crate takes.
    pub fn read<T: Table>(&self, segment: u32) -> Result<Rows<T>, FormatError> {
        self.read_columns(segment, None)
    }

    /// As [`Capture::read`], but decodes only the `wanted` columns; the others read as defaults.
    ///
    /// # Errors
    /// As [`Capture::read`].
    pub fn read_columns<T: Table>(
        &self,
        segment: u32,
        wanted: Option<&[&str]>,
    ) -> Result<Rows<T>, FormatError> {
        let Some(member) = self
            .members
            .get(&segment)
            .and_then(|tables| tables.get(T::NAME))
        else {
            return Ok(Rows::empty());
        };
        segment::decode(&member.entry, self.member_bytes(&member.entry)?, wanted)
    }

    /// The bytes of a member.
    ///
    /// # Errors
    /// [`FormatError::Damaged`] if they do not lie within the file, or fail their checksum.
    pub fn member_bytes(&self, entry: &Entry) -> Result<Bytes, FormatError> {
        member_bytes(&self.file, entry)
    }
}

fn member_bytes(file: &FileBytes, entry: &Entry) -> Result<Bytes, FormatError> {
    let bytes = file.bytes.slice_ref(entry.slice(&file.bytes)?);
    file.read_ahead(entry.data_off as usize..entry.end_off() as usize);
    entry.verify(&file.bytes)?;
    Ok(bytes)
}

/// The segment and the table of a member's name, `000012/syscalls.parquet`.
///
/// A segment has one name only: at least six digits, and no more than it needs beyond that.
pub(crate) fn table_member(name: &str) -> Option<(u32, &str)> {
    let (number, file) = name.split_once('/')?;
    let table = file.strip_suffix(".parquet")?;
    let is_exact = match number.len() {
        0..6 => false,
        6 => true,
        _ => !number.starts_with('0'),
    };
    let is_number = is_exact && number.bytes().all(|byte| byte.is_ascii_digit());
    Some((is_number.then(|| number.parse().ok())??, table))
}

fn read_header(bytes: &[u8], listing: &container::Listing) -> Result<Header, FormatError> {
    let entry = match listing.entries.first() {
        Some(entry) if entry.name == HEADER_MEMBER => entry,
        Some(entry) => {
            let found = format!("it is a ZIP archive that begins with {}", entry.name);
            return Err(FormatError::NotACapture { found });
        }
        None => {
            return Err(FormatError::Damaged {
                member: "the first member".into(),
                at: 0,
                what: format!("the file ends within it, at byte {}", bytes.len()),
            });
        }
    };
    if entry.capture.is_some_and(|capture| capture != entry.crc32) {
        return Err(entry.damaged("its mark names another capture".into()));
    }
    parse_header(bytes, entry)
}

pub(crate) fn parse_header(bytes: &[u8], entry: &Entry) -> Result<Header, FormatError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        format: crate::FormatVersion,
    }
    // The version comes first: a newer header may not even parse as ours.
    let Versioned { format } = read_json(bytes, entry)?;
    if format.major == 0 {
        return Err(entry.damaged(format!("it says format {format}, expected {FORMAT}")));
    }
    if format.major > FORMAT.major {
        return Err(FormatError::Newer {
            found: format,
            supported: FORMAT,
        });
    }
    read_json(bytes, entry)
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    entry: &Entry,
) -> Result<T, FormatError> {
    entry.verify(bytes)?;
    serde_json::from_slice(entry.slice(bytes)?).map_err(|error| entry.damaged(error.to_string()))
}
