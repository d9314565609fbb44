//! Trouble that leaves an answer standing: collected while a command runs, shown once at its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::render::table::printable;

/// One reason why an answer may not be the whole truth.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Warning {
    /// The capture has no end: its recorder was killed or still writes, or the copy was cut.
    Unfinished {
        /// Bytes at the end that are no whole member.
        tail_bytes: u64,
    },
    /// A member could not be read; its rows are missing.
    DamagedMember {
        /// What is wrong, member and place included.
        what: String,
    },
    /// Events did not arrive in the recorder.
    Lost {
        /// Why.
        cause: String,
        /// The tables whose rows are missing, with how many.
        tables: BTreeMap<String, u64>,
    },
    /// Tables of a newer version were left out of a capture that was written.
    UnknownTables {
        /// Each with how many rows.
        tables: BTreeMap<String, u64>,
    },
    /// Columns of a newer version were left out likewise.
    UnknownColumns {
        /// Each as `table.column`.
        columns: BTreeSet<String>,
    },
    /// The selection names something that the capture does not have.
    NothingSelected {
        /// The option with its value.
        option: String,
    },
    /// The condition of `--where` asks for facts that no event of this command has.
    NeverHolds {
        /// The kinds of events that the command looks at.
        kinds: Vec<&'static str>,
    },
}

impl Warning {
    /// Whether data that belongs to the answer was missing.
    pub fn is_missing_data(&self) -> bool {
        !matches!(
            self,
            Warning::NothingSelected { .. } | Warning::NeverHolds { .. }
        )
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Unfinished { tail_bytes } => {
                write!(
                    f,
                    "the capture is unfinished (its recorder was killed or is still writing, or \
                     the copy was cut): what came after the last whole member is missing"
                )?;
                match tail_bytes {
                    0 => Ok(()),
                    bytes => write!(f, ", and its last {bytes} bytes are only a part of one"),
                }
            }
            Warning::DamagedMember { what } => write!(
                f,
                "left out a damaged member, {what}; `kindling-replay check` lists all of them"
            ),
            Warning::Lost { cause, tables } => {
                let tables = tables
                    .iter()
                    .map(|(table, count)| format!("{count} of {table}"));
                let tables = tables.collect::<Vec<_>>().join(", ");
                write!(f, "events were lost while recording ({cause}): {tables}")
            }
            Warning::UnknownTables { tables } => {
                let tables = tables
                    .iter()
                    .map(|(table, rows)| format!("{} ({rows} rows)", printable(table)));
                let tables = tables.collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "left out tables that this version does not know: {tables}; a newer \
                     kindling-replay keeps them"
                )
            }
            Warning::UnknownColumns { columns } => {
                let columns: Vec<_> = columns.iter().map(|name| printable(name)).collect();
                write!(
                    f,
                    "left out columns that this version does not know: {}; a newer kindling-replay \
                     keeps them",
                    columns.join(", ")
                )
            }
            Warning::NothingSelected { option } => {
                write!(f, "the capture has no thread that fits {option}")
            }
            Warning::NeverHolds { kinds } => write!(
                f,
                "--where asks for facts that no {} has, and this command looks at nothing else; \
                 docs/FILTERS.md says which events have which",
                kinds.join(" or ")
            ),
        }
    }
}
