//! `syscalls` for reading.

use std::io::Write;

use crate::{
    analysis::syscalls::SyscallRow,
    render::{
        json::List,
        table::{Align, TextTable},
        units,
    },
};

/// Writes the report as a table.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &List<SyscallRow>) -> anyhow::Result<()> {
    let names = [
        "calls",
        "errors",
        "unfinished",
        "total",
        "mean",
        "p50",
        "p99",
        "max",
    ];
    let mut columns = vec![("syscall", Align::Left)];
    columns.extend(names.map(|name| (name, Align::Right)));
    let mut table = TextTable::new(&columns);
    let some = |count: u64| {
        if count == 0 {
            String::new()
        } else {
            units::count(count)
        }
    };
    let time = |ns: u64| units::duration(i64::try_from(ns).unwrap_or(i64::MAX));
    for row in &report.rows {
        table.row([
            row.syscall.clone(),
            units::count(row.calls),
            some(row.errors),
            some(row.unfinished),
            units::duration(row.total_ns),
            units::duration(row.mean_ns),
            time(row.p50_ns),
            time(row.p99_ns),
            units::duration(row.max_ns),
        ]);
    }
    table.write(out)?;
    let calls: u64 = report.rows.iter().map(|row| row.calls).sum();
    writeln!(
        out,
        "\n{} calls of {} kinds shown",
        units::count(calls),
        report.rows.len()
    )?;
    Ok(())
}
