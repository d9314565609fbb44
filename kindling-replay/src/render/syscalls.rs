//! `syscalls` for reading.

use std::{collections::BTreeMap, io::Write};

use crate::{
    analysis::syscalls::{Bucket, SyscallRow},
    render::{
        json::List,
        table::{Align, TextTable},
        units,
    },
};

/// The longest bar of a histogram.
const BAR: u64 = 50;

/// Writes the report as a table, in the manner of `strace -c`; behind it the histograms, if wanted.
///
/// # Errors
/// Those of `out`.
pub fn text(
    out: &mut dyn Write,
    report: &List<SyscallRow>,
    with_histograms: bool,
) -> anyhow::Result<()> {
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
    columns.push(("failed with", Align::Left));
    let mut table = TextTable::new(&columns);
    let some = |count: u64| {
        if count == 0 {
            String::new()
        } else {
            units::count(count)
        }
    };
    for row in &report.rows {
        table.row([
            row.syscall.clone(),
            units::count(row.calls),
            some(row.errors),
            some(row.unfinished),
            units::duration(row.total_ns),
            units::duration(row.mean_ns),
            units::duration(row.p50_ns),
            units::duration(row.p99_ns),
            units::duration(row.max_ns),
            errors(&row.errors_by),
        ]);
    }
    table.write(out)?;
    let calls: u64 = report.rows.iter().map(|row| row.calls).sum();
    writeln!(
        out,
        "\n{} of {} shown",
        units::counted(calls, "call"),
        units::counted(report.rows.len() as u64, "kind")
    )?;
    if with_histograms {
        for row in &report.rows {
            histogram(out, row)?;
        }
    }
    Ok(())
}

/// `3 ENOENT, 1 EACCES`, the most frequent first.
pub fn errors(errors: &BTreeMap<String, u64>) -> String {
    let mut errors: Vec<(&String, &u64)> = errors.iter().collect();
    errors.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let words = errors.iter().map(|(name, count)| format!("{count} {name}"));
    words.collect::<Vec<_>>().join(", ")
}

fn histogram(out: &mut dyn Write, row: &SyscallRow) -> anyhow::Result<()> {
    writeln!(out, "\n{}", row.syscall)?;
    let most = row
        .histogram
        .iter()
        .map(|bucket| bucket.calls)
        .max()
        .unwrap_or(0);
    let mut table = TextTable::new(&[
        ("from", Align::Right),
        ("below", Align::Right),
        ("calls", Align::Right),
        ("", Align::Left),
    ]);
    for &Bucket { least_ns, calls } in &row.histogram {
        let bar = (calls * BAR).div_ceil(most.max(1));
        table.row([
            units::duration(least_ns),
            units::duration(least_ns.saturating_mul(2).max(1)),
            units::count(calls),
            "█".repeat(usize::try_from(bar).unwrap_or(0)),
        ]);
    }
    table.write(out)?;
    Ok(())
}
