//! Rebuilding a finished capture from an unfinished or damaged one.
//!
//! Members are found by their local headers, behind damaged parts too, and by what is left of the
//! central directory where a local header is damaged. A member is kept if its checksum holds and its
//! rows can be decoded; it is copied byte for byte. Each other one is reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use bytes::Bytes;

use crate::{
    CaptureWriter, EncodedMember, FormatError, Header, Summary,
    container::{self, Entry},
    header::{HEADER_MEMBER, INDEX_MEMBER, Moment, SUMMARY_MEMBER},
    inspect::{Inspection, inspect},
    reader,
    schema::{Extent, Index},
    segment,
};

/// What was kept and what was not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Salvage {
    /// Table members that were kept.
    pub members: u64,
    /// Their rows per table.
    pub rows: BTreeMap<String, u64>,
    /// Parts that were not kept, in the order of the file.
    pub lost: Vec<Lost>,
}

/// A part of the file that was not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// The member's name; `None` if neither its header nor the directory tells.
    pub name: Option<String>,
    /// Where the part begins.
    pub at: u64,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// The member's rows, if the index or the Parquet footer tells.
    pub rows: Option<u64>,
    /// The earliest and the latest moment that they speak of, if the index tells.
    pub span: Option<(i64, i64)>,
    /// Why it was not kept.
    pub why: String,
}

/// Writes what is intact of `file` to `out`, as a finished capture.
///
/// If the header is damaged, the new one says nothing but the version of the format.
///
/// # Errors
/// [`FormatError::NotACapture`] if the file has no member of a capture, [`FormatError::Newer`] as
/// for reading, [`FormatError::Io`] if `out` cannot be written.
pub fn salvage<W: Write>(file: &Bytes, out: W) -> Result<(W, Salvage), FormatError> {
    let Parts { members, mut lost } = find_parts(file)?;
    let header = match members.iter().find(|e| e.name == HEADER_MEMBER) {
        Some(entry) => reader::parse_header(file, entry)?,
        None => Header::default(),
    };
    let index = read_index(file, &members);
    for part in &mut lost {
        describe(file, part, index.get(&part.at));
    }
    let mut report = Salvage::default();
    let mut writer = CaptureWriter::new(out, &header)?;
    let mut latest = header.start.monotonic_ns;
    for entry in &members {
        let Some((segment, table)) = reader::table_member(&entry.name) else {
            if ![HEADER_MEMBER, INDEX_MEMBER, SUMMARY_MEMBER].contains(&entry.name.as_str()) {
                writer.append_other(&entry.name, entry.slice(file)?)?;
            }
            continue;
        };
        let bytes = file.slice_ref(entry.slice(file)?);
        match inspect(table, entry, bytes.clone()) {
            Ok(Inspection { extent, .. }) => {
                report.members += 1;
                *report.rows.entry(table.to_owned()).or_insert(0) += u64::from(extent.rows);
                latest = latest.max(extent.span.map_or(i64::MIN, |(_, end)| end));
                writer.append(
                    segment,
                    EncodedMember {
                        table: table.to_owned().into(),
                        extent,
                        bytes: bytes.to_vec(),
                    },
                )?;
            }
            Err(error) => lost.push(Lost {
                rows: index.get(&entry.header_off).map(|row| row.rows),
                span: index.get(&entry.header_off).and_then(span),
                ..Lost::member(entry, error.what())
            }),
        }
    }
    lost.sort_by_key(|part| part.at);
    let old_summary = members.iter().find(|e| e.name == SUMMARY_MEMBER);
    let old_summary = old_summary.and_then(|entry| reader::read_json(file, entry).ok());
    let mut summary = old_summary.unwrap_or_else(|| unfinished(&header, latest));
    for part in &lost {
        let table = part.name.as_deref().and_then(reader::table_member);
        if let (Some((_, table)), Some(rows)) = (table, part.rows) {
            *summary.lost.entry(table.to_owned()).or_insert(0) += rows;
        }
    }
    report.lost = lost;
    Ok((writer.finish(&summary)?, report))
}

/// The summary of a recording that did not write its own.
fn unfinished(header: &Header, latest: i64) -> Summary {
    let passed = latest.saturating_sub(header.start.monotonic_ns);
    Summary {
        end: Moment {
            monotonic_ns: latest,
            boottime_ns: header.start.boottime_ns.saturating_add(passed),
            realtime_ns: header.start.realtime_ns.saturating_add(passed),
        },
        reason: "unfinished, salvaged".into(),
        ..Summary::default()
    }
}

impl Lost {
    fn member(entry: &Entry, why: String) -> Self {
        Lost {
            name: Some(entry.name.clone()),
            size_bytes: entry.end_off() - entry.header_off,
            ..Lost::part(entry.header_off, 0, &why)
        }
    }

    fn part(at: u64, size_bytes: u64, why: &str) -> Self {
        Lost {
            name: None,
            at,
            size_bytes,
            rows: None,
            span: None,
            why: why.to_owned(),
        }
    }
}

/// The intact members and the other parts of a file.
#[derive(Default)]
struct Parts {
    members: Vec<Entry>,
    lost: Vec<Lost>,
}

fn find_parts(file: &[u8]) -> Result<Parts, FormatError> {
    // Headers without marks are all right in a file that needs no salvage.
    let Some(capture) = capture_id(file) else {
        let members = container::list(file)?.entries;
        let lost = members.iter().filter_map(|entry| {
            let error = entry.verify(file).err()?;
            Some(Lost::member(entry, error.what()))
        });
        let lost: Vec<Lost> = lost.collect();
        let intact = |entry: &Entry| lost.iter().all(|part| part.at != entry.header_off);
        let members = members.into_iter().filter(intact).collect();
        return Ok(Parts { members, lost });
    };
    let directory = container::find_remains(file, capture);
    let mut parts = Parts::default();
    let mut names = BTreeSet::new();
    let mut at = 0;
    while at < directory.at {
        // The next header, or the end of the members, behind what lies at `at`.
        let behind = |from: usize| {
            let next = container::find_local(file, from, capture);
            next.map_or(directory.at, |next| next.header_off as usize)
        };
        let local = container::read_local(file, at).filter(|e| e.capture == Some(capture));
        let data_off = local.as_ref().map(|entry| entry.data_off as usize);
        let entry = local.or_else(|| directory.entries.get(&(at as u64)).cloned());
        let intact = entry.as_ref().map(|entry| entry.verify(file));
        at = match (entry, intact) {
            (Some(entry), Some(Ok(()))) if names.insert(entry.name.clone()) => {
                let end = entry.end_off() as usize;
                parts.members.push(entry);
                end
            }
            (Some(entry), Some(Ok(()))) => {
                let why = "a member before it has the same name".to_owned();
                parts.lost.push(Lost::member(&entry, why));
                entry.end_off() as usize
            }
            (Some(entry), Some(Err(error))) => {
                // Bytes may be missing in the middle: the next header may come early.
                let end = usize::try_from(entry.end_off()).unwrap_or(usize::MAX);
                let next = end.min(behind(data_off.unwrap_or(at + 1)));
                let lost = Lost::member(&entry, error.what());
                let size_bytes = (next - at) as u64;
                parts.lost.push(Lost { size_bytes, ..lost });
                next
            }
            _ => {
                let next = behind(at + 1);
                let why = match next == file.len() {
                    true => "the file ends within a member",
                    false => "it does not begin with a member's header",
                };
                parts
                    .lost
                    .push(Lost::part(at as u64, (next - at) as u64, why));
                next
            }
        };
    }
    Ok(parts)
}

/// The id that the marks of the file name: that of its first header, if it has one.
fn capture_id(file: &[u8]) -> Option<u32> {
    container::read_local(file, 0)
        .and_then(|entry| entry.capture)
        .or_else(|| container::find_any_local(file)?.capture)
}

/// The index by the offset of the members; empty if it is not intact.
fn read_index(file: &Bytes, members: &[Entry]) -> BTreeMap<u64, Index> {
    let entry = members.iter().find(|entry| entry.name == INDEX_MEMBER);
    let rows = entry.and_then(|entry| {
        let bytes = file.slice_ref(entry.slice(file).ok()?);
        segment::decode::<Index>(entry, bytes, None).ok()
    });
    let rows = rows.iter().flat_map(|rows| rows.iter());
    rows.map(|row| (row.offset, row)).collect()
}

/// Adds what the index, or else the Parquet footer, tells of a part that was lost.
fn describe(file: &Bytes, part: &mut Lost, row: Option<&Index>) {
    if let Some(row) = row {
        let name = || crate::writer::member_name(row.segment, &row.table);
        part.name.get_or_insert_with(name);
        part.rows = Some(row.rows);
        part.span = span(row);
    } else if part
        .name
        .as_deref()
        .is_some_and(|n| reader::table_member(n).is_some())
    {
        let end = part.at.saturating_add(part.size_bytes) as usize;
        let bytes = file.get(part.at as usize..end).map(|b| file.slice_ref(b));
        part.rows = bytes.and_then(segment::footer_rows);
    }
}

fn span(row: &Index) -> Option<(i64, i64)> {
    row.min_ts.zip(row.max_ts)
}

impl Extent {
    /// What a member covers according to its row in the index.
    pub fn of_index(row: &Index) -> Self {
        let mut extent = Extent::of_rows(row.rows);
        extent.span = span(row);
        extent.pids = row.pids.iter().copied().collect();
        extent
    }
}
