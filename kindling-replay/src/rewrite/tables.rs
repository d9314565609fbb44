//! Rows of every table, gathered from segments and written as one.

use std::collections::BTreeMap;

use kindling_format::{
    Capture, CaptureWriter, Effort, EncodedMember, FormatError, Member, for_each_table,
    schema::{self, Extent, Index, Table},
};
use rayon::{ThreadPool, prelude::*};

/// The rows of the fullest table of a segment at which it is written: enough for what repeats to be
/// seen, few enough that all cores have a part of a small capture.
pub(super) const SEGMENT_ROWS: usize = 1 << 18;
/// The same for bytes of payloads, which are kept in memory as they are.
const SEGMENT_PAYLOAD_BYTES: usize = 64 << 20;

/// What becomes of a row.
pub(super) trait Edit<T> {
    /// The row as it is to be written; `None` leaves it out.
    fn edit(&self, row: T) -> Option<T>;

    /// Whether a row of the member can be kept at all, by what the index says of it.
    fn may_keep(&self, _index: &Index) -> bool {
        true
    }
}

/// Keeps every row as it is.
pub(super) struct KeepAll;

impl<T> Edit<T> for KeepAll {
    fn edit(&self, row: T) -> Option<T> {
        Some(row)
    }
}

macro_rules! tables {
    ($($row:ident),*) => {
        /// An [`Edit`] of every table: a new table does not compile until each says what it does
        /// with it.
        pub(super) trait EditAll: $(Edit<schema::$row> +)* Sync {}
        impl<E: $(Edit<schema::$row> +)* Sync> EditAll for E {}

        /// Rows of every table, gathered from some segments.
        #[allow(non_snake_case)]
        #[derive(Default)]
        pub(super) struct Tables {
            payload_bytes: usize,
            $(pub(super) $row: <schema::$row as Table>::Columns,)*
        }

        impl Tables {
            /// Adds the rows of a segment that `edit` keeps; its tables are decoded side by side.
            pub(super) fn add(
                &mut self,
                pool: &ThreadPool,
                capture: &Capture,
                segment: u32,
                edit: &impl EditAll,
            ) -> Result<(), FormatError> {
                type Job<'a> = Box<dyn FnOnce() -> Result<(), FormatError> + Send + 'a>;
                let jobs: Vec<Job<'_>> = vec![$({
                    let columns = &mut self.$row;
                    Box::new(move || add_rows::<schema::$row>(capture, segment, edit, columns))
                }),*];
                pool.install(|| jobs.into_par_iter().try_for_each(|add| add()))?;
                let payloads = capture.members(segment).find(|(table, _)| *table == "payloads");
                let packed = payloads.map_or(0, |(_, member)| member.entry.size_bytes);
                self.payload_bytes += usize::try_from(packed).unwrap_or(usize::MAX);
                Ok(())
            }

            /// Whether enough was gathered for a segment.
            pub(super) fn is_full(&self) -> bool {
                let rows = [$(<schema::$row as Table>::collected(&self.$row)),*];
                rows.iter().any(|&rows| rows >= SEGMENT_ROWS)
                    || self.payload_bytes >= SEGMENT_PAYLOAD_BYTES
            }

            /// Encodes the tables on all cores and writes them in their order.
            pub(super) fn write<W: std::io::Write>(
                self,
                pool: &ThreadPool,
                segment: u32,
                effort: Effort,
                writer: &mut CaptureWriter<W>,
            ) -> Result<(), FormatError> {
                type Job = Box<dyn FnOnce() -> Result<EncodedMember, FormatError> + Send>;
                let jobs: Vec<Job> = vec![$({
                    let mut columns = self.$row;
                    Box::new(move || schema::$row::encode_with(&mut columns, effort))
                }),*];
                let members: Vec<_> =
                    pool.install(|| jobs.into_par_iter().map(|encode| encode()).collect());
                for member in members {
                    writer.append(segment, member?)?;
                }
                Ok(())
            }
        }
    };
}
for_each_table!(tables);

fn add_rows<T: Table>(
    capture: &Capture,
    segment: u32,
    edit: &impl Edit<T>,
    columns: &mut T::Columns,
) -> Result<(), FormatError> {
    let mut members = capture.members(segment);
    let member = members.find(|(table, _)| *table == T::NAME);
    let index = member.and_then(|(_, member)| member.index.as_ref());
    if index.is_some_and(|index| !edit.may_keep(index)) {
        return Ok(());
    }
    let rows = capture.read::<T>(segment)?;
    for row in rows.iter().filter_map(|row| edit.edit(row)) {
        T::push(columns, row);
    }
    Ok(())
}

/// The members of a segment whose tables this version does not know.
fn unknown(capture: &Capture, segment: u32) -> impl Iterator<Item = (&str, &Member)> {
    let is_known = |table: &str| schema::tables().iter().any(|known| known.name == table);
    let members = capture.members(segment);
    members.filter(move |(table, _)| !is_known(table))
}

fn extent(capture: &Capture, table: &str, member: &Member) -> Result<Extent, FormatError> {
    match &member.index {
        Some(index) => Ok(Extent::of_index(index)),
        None => {
            let bytes = capture.member_bytes(&member.entry)?;
            Ok(kindling_format::inspect(table, &member.entry, bytes)?.extent)
        }
    }
}

/// The rows of tables that this version does not know, and so cannot take a part of or change.
pub(super) fn unknown_rows(capture: &Capture) -> Result<BTreeMap<String, u64>, FormatError> {
    let mut rows = BTreeMap::new();
    for segment in capture.segments() {
        for (table, member) in unknown(capture, segment) {
            let of_table: &mut u64 = rows.entry(table.to_owned()).or_default();
            *of_table = of_table.saturating_add(extent(capture, table, member)?.rows.into());
        }
    }
    Ok(rows)
}

/// The tables of a capture that this version does not know, as they are, in their own segment.
pub(super) fn copy_unknown<W: std::io::Write>(
    capture: &Capture,
    segment: u32,
    writer: &mut CaptureWriter<W>,
) -> Result<(), FormatError> {
    for (table, member) in unknown(capture, segment) {
        let bytes = capture.member_bytes(&member.entry)?;
        let extent = extent(capture, table, member)?;
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
