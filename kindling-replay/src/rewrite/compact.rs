//! The same rows in fewer bytes.

use kindling_format::{
    Capture, CaptureWriter, Effort, FormatError,
    header::{HEADER_MEMBER, INDEX_MEMBER, SUMMARY_MEMBER},
};

use super::{
    left_out::LeftOut,
    summary,
    tables::{KeepAll, SEGMENT_ROWS, Tables, copy_unknown},
};

/// Writes `capture` to `out` with small segments put together and all members made small. Returns what it
/// leaves out: columns that this version does not know; tables that it does not know are kept as they are.
///
/// # Errors
/// If a member is damaged or `out` cannot be written.
pub fn compact(
    pool: &rayon::ThreadPool,
    capture: &Capture,
    out: &mut dyn std::io::Write,
) -> Result<LeftOut, FormatError> {
    let left_out = LeftOut::columns_of(capture)?;
    let mut writer = CaptureWriter::new(out, capture.header())?;
    let mut tables = Tables::default();
    let mut first = None;
    for segment in capture.segments() {
        // A large segment is not made larger.
        if let Some(number) = first.filter(|_| is_large(capture, segment)) {
            std::mem::take(&mut tables).write(pool, number, Effort::Compact, &mut writer)?;
            first = None;
        }
        tables.add(pool, capture, segment, &KeepAll)?;
        let number = *first.get_or_insert(segment);
        copy_unknown(capture, segment, &mut writer)?;
        if tables.is_full() {
            std::mem::take(&mut tables).write(pool, number, Effort::Compact, &mut writer)?;
            first = None;
        }
    }
    if let Some(number) = first {
        tables.write(pool, number, Effort::Compact, &mut writer)?;
    }
    for entry in capture.entries() {
        let ours = [HEADER_MEMBER, SUMMARY_MEMBER, INDEX_MEMBER].contains(&entry.name.as_str());
        if !ours && !is_table(capture, entry.header_off) {
            writer.append_other(&entry.name, &capture.member_bytes(entry)?)?;
        }
    }
    writer.finish(&summary(capture))?;
    Ok(left_out)
}

fn is_large(capture: &Capture, segment: u32) -> bool {
    let mut members = capture.members(segment).map(|(_, member)| member);
    members.any(|member| match &member.index {
        Some(index) => index.rows >= SEGMENT_ROWS as u64,
        None => member.entry.size_bytes >= SEGMENT_ROWS as u64,
    })
}

fn is_table(capture: &Capture, header_off: u64) -> bool {
    let mut members = capture
        .segments()
        .flat_map(|segment| capture.members(segment));
    members.any(|(_, member)| member.entry.header_off == header_off)
}
