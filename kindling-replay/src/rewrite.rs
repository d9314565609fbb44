//! Writing a capture anew: rows are read segment by segment, gathered, and written again. Memory
//! follows the segment that is gathered, not the file.

use kindling_format::{
    Capture, CaptureWriter, Completion, Effort, EncodedMember, FormatError, Header, Summary,
    for_each_table,
    header::{HEADER_MEMBER, INDEX_MEMBER, Moment, SUMMARY_MEMBER},
    schema::{self, Extent, Table},
};
use rayon::prelude::*;

/// The rows of the fullest table of a segment at which it is written: enough for what repeats to be
/// seen, few enough that all cores have a part of a small capture.
const SEGMENT_ROWS: usize = 1 << 18;
/// The same for bytes of payloads, which are kept in memory as they are.
const SEGMENT_PAYLOAD_BYTES: usize = 64 << 20;

/// Writes `capture` to `out` with small segments put together and all members made small.
///
/// # Errors
/// If a member is damaged or `out` cannot be written.
pub fn compact(capture: &Capture, out: &mut dyn std::io::Write) -> Result<(), FormatError> {
    let mut writer = CaptureWriter::new(out, capture.header())?;
    let mut tables = Tables::default();
    let mut first = None;
    for segment in capture.segments() {
        // A large segment is not made larger.
        if let Some(number) = first.filter(|_| is_large(capture, segment)) {
            std::mem::take(&mut tables).write(number, &mut writer)?;
            first = None;
        }
        tables.add(capture, segment)?;
        let number = *first.get_or_insert(segment);
        copy_unknown(capture, segment, &mut writer)?;
        if tables.is_full() {
            std::mem::take(&mut tables).write(number, &mut writer)?;
            first = None;
        }
    }
    if let Some(number) = first {
        tables.write(number, &mut writer)?;
    }
    for entry in capture.entries() {
        let ours = [HEADER_MEMBER, SUMMARY_MEMBER, INDEX_MEMBER].contains(&entry.name.as_str());
        if !ours && !is_table(capture, entry.header_off) {
            entry.verify(capture.bytes())?;
            writer.append_other(&entry.name, entry.slice(capture.bytes())?)?;
        }
    }
    writer.finish(&summary(capture))?;
    Ok(())
}

fn is_large(capture: &Capture, segment: u32) -> bool {
    let mut members = capture.members(segment).map(|(_, member)| member);
    members.any(|member| match &member.index {
        Some(index) => index.rows >= SEGMENT_ROWS as u64,
        None => member.entry.size_bytes >= SEGMENT_ROWS as u64,
    })
}

/// The capture's summary; one that says so if the recorder did not write it.
fn summary(capture: &Capture) -> Summary {
    match capture.completion() {
        Completion::Finished(summary) => summary.clone(),
        Completion::Unfinished { .. } => Summary {
            end: last_moment(capture.header(), capture),
            reason: "unfinished".into(),
            ..Summary::default()
        },
    }
}

fn last_moment(header: &Header, capture: &Capture) -> Moment {
    let clock = |segment| capture.read::<schema::Clock>(segment).ok();
    let rows = capture.segments().filter_map(clock);
    let last = rows.filter_map(|rows| rows.iter().last()).last();
    last.map_or(header.start, |row| Moment {
        monotonic_ns: row.ts,
        boottime_ns: row.boottime_ns,
        realtime_ns: row.realtime_ns,
    })
}

fn is_table(capture: &Capture, header_off: u64) -> bool {
    let mut members = capture
        .segments()
        .flat_map(|segment| capture.members(segment));
    members.any(|(_, member)| member.entry.header_off == header_off)
}

/// Members of tables that this version does not know are kept as they are, in their own segment.
fn copy_unknown<W: std::io::Write>(
    capture: &Capture,
    segment: u32,
    writer: &mut CaptureWriter<W>,
) -> Result<(), FormatError> {
    for (table, member) in capture.members(segment) {
        if schema::tables().iter().any(|known| known.name == table) {
            continue;
        }
        member.entry.verify(capture.bytes())?;
        let bytes = capture.member_bytes(&member.entry)?;
        let extent = match &member.index {
            Some(index) => Extent::of_index(index),
            None => kindling_format::inspect(table, &member.entry, bytes.clone())?.extent,
        };
        let table = table.to_owned().into();
        writer.append(
            segment,
            EncodedMember {
                table,
                extent,
                bytes: bytes.to_vec(),
            },
        )?;
    }
    Ok(())
}

macro_rules! tables {
    ($($row:ident),*) => {
        /// Rows of every table, gathered from some segments.
        #[allow(non_snake_case)]
        #[derive(Default)]
        struct Tables {
            payload_bytes: usize,
            $($row: <schema::$row as Table>::Columns,)*
        }

        impl Tables {
            fn add(&mut self, capture: &Capture, segment: u32) -> Result<(), FormatError> {
                $(for row in capture.read::<schema::$row>(segment)?.iter() {
                    <schema::$row as Table>::push(&mut self.$row, row);
                })*
                let payloads = capture.members(segment).find(|(table, _)| *table == "payloads");
                let packed = payloads.map_or(0, |(_, member)| member.entry.size_bytes);
                self.payload_bytes += usize::try_from(packed).unwrap_or(usize::MAX);
                Ok(())
            }

            fn is_full(&self) -> bool {
                let rows = [$(<schema::$row as Table>::collected(&self.$row)),*];
                rows.iter().any(|&rows| rows >= SEGMENT_ROWS)
                    || self.payload_bytes >= SEGMENT_PAYLOAD_BYTES
            }

            /// Encodes the tables on all cores and writes them in their order.
            fn write<W: std::io::Write>(
                self,
                segment: u32,
                writer: &mut CaptureWriter<W>,
            ) -> Result<(), FormatError> {
                type Job = Box<dyn FnOnce() -> Result<EncodedMember, FormatError> + Send>;
                let jobs: Vec<Job> = vec![$({
                    let columns = self.$row;
                    Box::new(move || schema::$row::encode_with(columns, Effort::Compact))
                }),*];
                let members: Vec<_> = jobs.into_par_iter().map(|encode| encode()).collect();
                for member in members {
                    writer.append(segment, member?)?;
                }
                Ok(())
            }
        }
    };
}
for_each_table!(tables);
