//! `logs` for reading.

use std::io::Write;

use crate::{
    analysis::logs::LogRow,
    render::{
        json::List,
        table::{Align, TextTable, printable},
        units,
    },
};

/// Writes the lines, each behind when and by whom it was written.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &List<LogRow>) -> anyhow::Result<()> {
    let mut table = TextTable::new(&[
        ("written", Align::Right),
        ("thread", Align::Left),
        ("request", Align::Left),
        ("own time", Align::Left),
        ("file", Align::Left),
        ("line", Align::Left),
    ]);
    for row in &report.rows {
        let mut line = printable(&row.line.replace('\t', "    "));
        if row.truncated {
            line.push('…');
        }
        table.row([
            units::offset(row.ts_ns),
            format!("{}/{}", printable(&row.comm), row.tid),
            request(row),
            row.own_time.clone().unwrap_or_default(),
            printable(&row.file),
            line,
        ]);
    }
    if !report.rows.is_empty() {
        table.without_empty_columns().write(out)?;
        writeln!(out)?;
    }
    match report.hidden() {
        0 => writeln!(out, "{}", units::counted(report.total, "line"))?,
        hidden => {
            let (total, hidden) = (units::counted(report.total, "line"), units::count(hidden));
            writeln!(out, "{total}, {hidden} of them not shown (--top)")?;
        }
    }
    Ok(())
}

/// The request; with a question mark where the thread had others in hand too.
fn request(row: &LogRow) -> String {
    let name = row.request.clone().unwrap_or_default();
    match row.requests_in_hand {
        0 | 1 => name,
        _ => name + "?",
    }
}
