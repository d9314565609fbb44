//! What a rewritten capture does not have of its original, because a later version made it.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{Capture, FormatError, schema, segment::column_sizes};

use super::tables::unknown_rows;
use crate::warning::Warning;

/// Tables and columns that this version does not know.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Tables, with how many rows.
    tables: BTreeMap<String, u64>,
    /// Columns of tables that it knows, as `table.column`.
    columns: BTreeSet<String>,
}

impl LeftOut {
    /// What `capture` has of both.
    ///
    /// # Errors
    /// If a member is damaged.
    pub(super) fn of(capture: &Capture) -> Result<Self, FormatError> {
        Ok(Self {
            tables: unknown_rows(capture)?,
            ..Self::columns_of(capture)?
        })
    }

    /// What it has of columns.
    ///
    /// # Errors
    /// If a member is damaged.
    pub(super) fn columns_of(capture: &Capture) -> Result<Self, FormatError> {
        let known: BTreeMap<&str, BTreeSet<&str>> = schema::tables()
            .iter()
            .map(|table| {
                (
                    table.name,
                    table.columns.iter().map(|column| column.name).collect(),
                )
            })
            .collect();
        let mut left_out = Self::default();
        for (table, member) in capture
            .segments()
            .flat_map(|segment| capture.members(segment))
        {
            let Some(known) = known.get(table) else {
                continue;
            };
            let bytes = capture.member_bytes(&member.entry)?;
            let columns = column_sizes(&member.entry.name, bytes)?.into_keys();
            let unknown = columns.filter(|column| !known.contains(column.as_str()));
            left_out
                .columns
                .extend(unknown.map(|column| format!("{table}.{column}")));
        }
        Ok(left_out)
    }

    /// Adds what another capture has.
    pub(super) fn add(&mut self, other: Self) {
        for (table, rows) in other.tables {
            let sum = self.tables.entry(table).or_default();
            *sum = sum.saturating_add(rows);
        }
        self.columns.extend(other.columns);
    }

    /// What is to be said of it.
    pub fn warnings(self) -> Vec<Warning> {
        let Self { tables, columns } = self;
        let tables = (!tables.is_empty()).then_some(Warning::UnknownTables { tables });
        let columns = (!columns.is_empty()).then_some(Warning::UnknownColumns { columns });
        tables.into_iter().chain(columns).collect()
    }
}
