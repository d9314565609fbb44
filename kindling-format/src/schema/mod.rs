//! The tables of a capture: the one place where a column is named, typed, encoded and explained.
//!
//! Each table is a row struct, declared with `table!`. The names of tables and columns are public
//! API (`docs/FORMAT.md` is the normative list, and a test holds the two together). Conventions:
//!
//! * `pid` is the process (the kernel's tgid), `tid` the thread (the kernel's pid).
//! * `ts` is a point in time: nanoseconds of `CLOCK_MONOTONIC` of the recorded host. `dur` is a
//!   length in nanoseconds. Other numbers carry their unit in the name.
//! * A null means that the fact was not recorded or does not apply, never zero.
//! * Ids (`file`, `stack`, `frame`, `symbol`) are local to one capture; 0 is never an id.

#[macro_use]
mod table;
mod calls;
mod code;
mod own;
mod sched;
mod state;
mod words;

pub use calls::*;
pub use code::*;
pub use own::*;
pub use sched::*;
pub use state::*;
pub use words::*;

use std::collections::BTreeSet;

use crate::{
    FormatError,
    column::{Order, Rows, Store, Value, View, words},
    segment::{Effort, EncodedMember, MemberWriter},
};

/// How a column is laid out in its Parquet member. The measurements behind the choices are in
/// `docs/FORMAT.md`, section "Encodings".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Parquet's dictionary: few distinct values.
    Dict,
    /// `DELTA_BINARY_PACKED`: rising numbers.
    Delta,
    /// `BYTE_STREAM_SPLIT`: noise in the low bytes only.
    Split,
    /// Values one after another: bytes that rarely repeat.
    Plain,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The column's name in the file.
    pub name: &'static str,
    /// Its Arrow type.
    pub data_type: arrow::datatypes::DataType,
    /// Whether it may hold nulls.
    pub nullable: bool,
    /// Its Parquet encoding.
    pub encoding: Encoding,
    /// What it means, as in `docs/FORMAT.md`.
    pub meaning: String,
}

/// A table with its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// The table's name: the file name of its members without `.parquet`.
    pub name: &'static str,
    /// The columns that rows of a member are sorted by.
    pub sort: &'static [&'static str],
    /// What a row is.
    pub meaning: String,
    /// Its columns, in the order of the file.
    pub columns: Vec<ColumnSpec>,
}

/// What a set of rows covers, for the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// The number of rows.
    pub rows: u32,
    /// The earliest and the latest moment that a row speaks of; `None` for tables without time.
    pub span: Option<(i64, i64)>,
    /// The processes that the rows name.
    pub pids: BTreeSet<u32>,
    last_pid: Option<u32>,
}

impl Extent {
    /// So many rows of which nothing else is known.
    pub fn of_rows(rows: u64) -> Self {
        Self {
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }

    #[inline]
    fn add(&mut self, span: Option<(i64, i64)>, pid: Option<u32>) {
        self.rows += 1;
        if let Some((start, end)) = span {
            let (min, max) = self.span.unwrap_or((start, end));
            self.span = Some((min.min(start), max.max(end)));
        }
        if pid != self.last_pid {
            self.last_pid = pid;
            self.pids.extend(pid);
        }
    }
}

/// A table of the capture; implemented by its row type.
pub trait Table: Sized {
    /// The table's name: the file name of its members without `.parquet`.
    const NAME: &'static str;
    /// The columns that rows of a member are sorted by.
    const SORT: &'static [&'static str];
    /// What a row is, as lines of prose.
    const MEANING: &'static [&'static str];
    /// Collects rows.
    type Columns: Default;
    /// Reads rows.
    type Views;
    /// The table's columns, in the order of the file.
    fn specs() -> Vec<ColumnSpec>;
    /// An empty collector of rows.
    fn columns() -> Self::Columns {
        Self::Columns::default()
    }
    /// Appends one row.
    fn push(columns: &mut Self::Columns, row: Self);
    /// The earliest and the latest moment that the row speaks of, if it has a time.
    fn span(&self) -> Option<(i64, i64)>;
    /// The process that the row names, if it names one.
    fn pid(&self) -> Option<u32>;
    /// Sorts and encodes collected rows into a member, as a recorder does.
    ///
    /// # Errors
    /// [`FormatError::Encode`] if the Parquet writer refuses them.
    fn encode(mut columns: Self::Columns) -> Result<EncodedMember, FormatError> {
        Self::encode_with(&mut columns, Effort::Record)
    }
    /// As [`Table::encode`], with so much effort. The columns are empty then, and keep their memory for
    /// rows to come.
    ///
    /// # Errors
    /// As [`Table::encode`].
    fn encode_with(
        columns: &mut Self::Columns,
        effort: Effort,
    ) -> Result<EncodedMember, FormatError>;
    /// How many rows were collected.
    fn collected(columns: &Self::Columns) -> usize;
    /// What these rows cover.
    fn extent(rows: &Rows<Self>) -> Extent;
    /// The first row that comes before its predecessor in the order of [`Table::SORT`].
    fn first_unsorted(rows: &Rows<Self>) -> Option<usize>;
    #[doc(hidden)]
    fn absent() -> Self::Views;
    #[doc(hidden)]
    fn open(batch: &arrow::array::RecordBatch) -> Result<Rows<Self>, String>;
    #[doc(hidden)]
    fn row(views: &Self::Views, index: usize) -> Self;
}

/// Calls a macro with every table's row type.
///
/// The order is that of the members in a segment: what others refer to comes first.
#[macro_export]
macro_rules! for_each_table {
    ($each:ident) => {
        $each! {
            Clock, Process, Thread, Mapping, File, Watch, Symbol, Frame, Stack,
            Syscall, Argument, Payload, IoUring, Tcp, Block, Fault, Switch, Migration, Wakeup, Sample, Loss, Overhead
        }
    };
}

macro_rules! catalogue {
    ($($row:ident),*) => {
        /// Every table, in the order of the members in a segment.
        pub fn tables() -> Vec<TableSpec> {
            vec![$(TableSpec {
                name: $row::NAME,
                sort: $row::SORT,
                meaning: sentence($row::MEANING),
                columns: $row::specs(),
            }),*]
        }
    };
}
for_each_table!(catalogue);

/// The lines of a doc comment as one.
fn sentence(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}
