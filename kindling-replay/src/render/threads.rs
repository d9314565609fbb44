//! `threads` for reading.

use std::io::Write;

use crate::{
    analysis::threads::ThreadRow,
    model::slice::Reason,
    render::{
        json::List,
        table::{Align, TextTable, printable},
        units,
    },
};

/// Writes the report as a table; reasons that no thread has are left out.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &List<ThreadRow>) -> anyhow::Result<()> {
    let mut columns = vec![
        ("pid", Align::Right),
        ("tid", Align::Right),
        ("comm", Align::Left),
    ];
    for name in ["lifetime", "running", "cpu", "runnable"] {
        columns.push((name, Align::Right));
    }
    columns.extend(Reason::ALL.map(|reason| (reason.word(), Align::Right)));
    columns.extend([("unknown", Align::Right), ("switches", Align::Right)]);
    let mut table = TextTable::new(&columns);
    for row in &report.rows {
        let mut cells = vec![
            row.pid.to_string(),
            row.tid.to_string(),
            printable(&row.comm),
        ];
        cells.push(units::duration(row.lifetime_ns));
        cells.push(time(row.running_ns));
        cells.push(units::percent(row.running_ns, row.lifetime_ns));
        cells.push(time(row.runnable_ns));
        cells.extend(Reason::ALL.map(|reason| time(row.blocked_by(reason))));
        cells.extend([time(row.unknown_ns), row.switches.to_string()]);
        table.row(cells);
    }
    table.without_empty_columns().write(out)?;
    writeln!(out)?;
    match report.hidden() {
        0 => writeln!(out, "{}", units::counted(report.total, "thread"))?,
        hidden => writeln!(
            out,
            "{}, {hidden} of them not shown",
            units::counted(report.total, "thread")
        )?,
    }
    Ok(())
}

/// A time; nothing if there was none.
fn time(ns: i64) -> String {
    if ns == 0 {
        String::new()
    } else {
        units::duration(ns)
    }
}
