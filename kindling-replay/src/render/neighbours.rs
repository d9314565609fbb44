//! `neighbours` for reading.

use std::io::Write;

use crate::{
    analysis::neighbours::{NeighbourRow, NeighboursReport},
    render::{
        json::List,
        table::{Align, TextTable, printable},
        units,
    },
};

/// Writes who had the CPUs.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &NeighboursReport) -> anyhow::Result<()> {
    writeln!(
        out,
        "waited for a CPU {}, {}",
        units::counted(report.waits, "time"),
        units::duration(report.runnable_ns)
    )?;
    let mut table = TextTable::new(&[
        ("while it was held by", Align::Left),
        ("time", Align::Right),
        ("share", Align::Right),
    ]);
    let parts = [
        ("the same process", report.own_ns),
        ("other processes", report.others_ns),
        ("nobody", report.idle_ns),
        ("somebody who was not recorded", report.unknown_ns),
    ];
    for (who, ns) in parts {
        table.row([
            who.to_owned(),
            units::duration(ns),
            units::percent(ns, report.runnable_ns),
        ]);
    }
    table.write(out)?;
    rows(out, "thread", &report.threads, report.runnable_ns)?;
    rows(out, "process", &report.processes, report.runnable_ns)?;
    if report
        .containers
        .rows
        .iter()
        .any(|row| row.container.is_some())
    {
        rows(out, "container", &report.containers, report.runnable_ns)?;
    }
    waiters(out, report)
}

fn rows(
    out: &mut dyn Write,
    what: &str,
    list: &List<NeighbourRow>,
    whole: i64,
) -> anyhow::Result<()> {
    if list.rows.is_empty() {
        return Ok(());
    }
    let mut table = TextTable::new(&[
        (what, Align::Left),
        ("in container", Align::Left),
        ("waits", Align::Right),
        ("time", Align::Right),
        ("share", Align::Right),
    ]);
    for row in &list.rows {
        let comm = row.comm.as_deref().map_or(String::new(), printable);
        let container = row
            .container
            .as_deref()
            .map_or(String::new(), |id| printable(id).chars().take(12).collect());
        let (name, container) = match (row.tid.or(row.pid), what) {
            (Some(id), _) => (format!("{comm}/{id}"), container),
            (None, "container") if container.is_empty() => ("none".to_owned(), String::new()),
            (None, "container") => (container, String::new()),
            (None, _) => ("not known".to_owned(), container),
        };
        table.row([
            name,
            container,
            units::count(row.waits),
            units::duration(row.ns),
            units::percent(row.ns, whole),
        ]);
    }
    writeln!(out)?;
    table.without_empty_columns().write(out)?;
    hidden(out, list.hidden())
}

fn waiters(out: &mut dyn Write, report: &NeighboursReport) -> anyhow::Result<()> {
    let mut table = TextTable::new(&[
        ("who waited", Align::Left),
        ("waits", Align::Right),
        ("preempted", Align::Right),
        ("time", Align::Right),
        ("longest", Align::Right),
    ]);
    for row in &report.waiters.rows {
        table.row([
            format!("{}/{}", printable(&row.comm), row.tid),
            units::count(row.waits),
            units::count(row.preempted),
            units::duration(row.runnable_ns),
            units::duration(row.max_ns),
        ]);
    }
    writeln!(out)?;
    table.write(out)?;
    hidden(out, report.waiters.hidden())
}

fn hidden(out: &mut dyn Write, hidden: u64) -> anyhow::Result<()> {
    if hidden > 0 {
        writeln!(out, "{} more are not shown (--top)", units::count(hidden))?;
    }
    Ok(())
}
