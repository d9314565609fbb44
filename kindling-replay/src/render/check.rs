//! `check` for reading.

use std::io::Write;

use crate::{
    analysis::check::CheckReport,
    render::{table::printable, units},
};

/// Writes the report as text.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &CheckReport) -> anyhow::Result<()> {
    let rows: u64 = report.rows.values().sum();
    writeln!(
        out,
        "{}: {}, {}",
        report.state,
        units::counted(report.members, "member"),
        units::counted(rows, "row")
    )?;
    for problem in &report.problems {
        let (member, what) = (printable(&problem.member), printable(&problem.what));
        if what.starts_with(&member) {
            writeln!(out, "  {what}")?;
        } else {
            writeln!(out, "  {member} at byte {}: {what}", problem.at)?;
        }
    }
    for (table, count) in &report.unsorted_members {
        let (table, count) = (printable(table), units::count(*count));
        writeln!(
            out,
            "  note: {count} members of {table} are in another order than this version writes"
        )?;
    }
    for (column, count) in &report.dangling {
        let count = units::count(*count);
        writeln!(
            out,
            "  note: {count} ids in {column} have no row: those facts are unknown"
        )?;
    }
    Ok(())
}
