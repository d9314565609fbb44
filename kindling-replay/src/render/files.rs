//! `files` for reading.

use std::io::Write;

use crate::{
    analysis::files::{FileRow, Latency},
    render::{
        json::List,
        syscalls::errors,
        table::{Align, TextTable, printable},
        units,
    },
};

/// Writes the report as a table; what no file has is left out.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &List<FileRow>) -> anyhow::Result<()> {
    let mut columns = vec![("kind", Align::Left), ("files", Align::Right)];
    for name in [
        "reads",
        "bytes in",
        "p50",
        "p99",
        "max",
        "writes",
        "bytes out",
        "p50",
        "p99",
        "max",
        "others",
        "max",
        "total",
    ] {
        columns.push((name, Align::Right));
    }
    columns.extend([("errors", Align::Left), ("name", Align::Left)]);
    let mut table = TextTable::new(&columns);
    for row in &report.rows {
        let mut cells = vec![row.kind.clone().unwrap_or_default(), some(row.files)];
        for moved in [&row.read, &row.write] {
            cells.push(some(moved.latency.calls));
            cells.push(match moved.latency.calls {
                0 => String::new(),
                _ => units::bytes(moved.bytes),
            });
            cells.extend(times(&moved.latency));
        }
        let [_, _, max] = times(&row.other);
        cells.extend([some(row.other.calls), max, units::duration(row.total_ns)]);
        cells.extend([errors(&row.errors_by), printable(&row.name)]);
        table.row(cells);
    }
    table.without_empty_columns().write(out)?;
    writeln!(out)?;
    match report.hidden() {
        0 => writeln!(out, "{}", units::counted(report.total, "row"))?,
        hidden => {
            let (total, hidden) = (units::counted(report.total, "row"), units::count(hidden));
            writeln!(out, "{total}, {hidden} of them not shown (--top)")?;
        }
    }
    Ok(())
}

fn some(count: u64) -> String {
    match count {
        0 => String::new(),
        count => units::count(count),
    }
}

fn times(latency: &Latency) -> [String; 3] {
    let times = [latency.p50_ns, latency.p99_ns, latency.max_ns];
    match latency.calls {
        0 => Default::default(),
        _ => times.map(units::duration),
    }
}
