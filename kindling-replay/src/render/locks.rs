//! `locks` for reading and for Graphviz.

use std::{collections::BTreeSet, io::Write};

use crate::{
    analysis::locks::{LockEdge, LockParty, LockRow, LocksReport},
    render::{
        table::{Align, TextTable, printable},
        units,
    },
};

/// Locks whose stacks are shown.
const STACKS_OF: usize = 5;

/// Writes the locks, who waited for whom, and where, as text.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &LocksReport) -> anyhow::Result<()> {
    if report.waits == 0 {
        return Ok(writeln!(out, "no thread waited for a lock")?);
    }
    locks(out, report)?;
    edges(out, report)?;
    for row in report.locks.rows.iter().take(STACKS_OF) {
        stacks(out, row)?;
    }
    Ok(())
}

fn locks(out: &mut dyn Write, report: &LocksReport) -> anyhow::Result<()> {
    let numbers = [
        "waiters",
        "waits",
        "waited",
        "mean",
        "max",
        "timeouts",
        "interrupted",
        "open",
        "missed",
        "holds",
        "held",
        "max held",
    ];
    let mut columns = vec![
        ("lock", Align::Left),
        ("kind", Align::Left),
        ("process", Align::Left),
        ("address", Align::Left),
    ];
    columns.extend(numbers.map(|name| (name, Align::Right)));
    let mut table = TextTable::new(&columns);
    for row in &report.locks.rows {
        let place = row.places.first();
        let more = match row.places.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(" +{more}"),
        };
        table.row([
            row.id.clone(),
            row.kind.word().to_owned(),
            place.map_or(String::new(), |place| {
                format!("{}/{}{more}", printable(&place.comm), place.pid)
            }),
            place.map_or(String::new(), |place| place.address.clone()),
            units::count(row.waiters.total),
            units::count(row.waits),
            units::duration(row.wait_ns),
            units::duration(row.mean_ns),
            units::duration(row.max_ns),
            some(row.timed_out),
            some(row.interrupted),
            some(row.open),
            some(row.missed),
            some(row.holds),
            time(row.hold_ns),
            time(row.hold_max_ns),
        ]);
    }
    table.without_empty_columns().write(out)?;
    writeln!(
        out,
        "\n{} of {}, {}, {} in all",
        report.locks.rows.len(),
        units::counted(report.locks.total, "lock"),
        units::counted(report.waits, "wait"),
        units::duration(report.wait_ns)
    )?;
    Ok(())
}

fn edges(out: &mut dyn Write, report: &LocksReport) -> anyhow::Result<()> {
    writeln!(out, "\nwho waited for whom")?;
    let mut table = TextTable::new(&[
        ("lock", Align::Left),
        ("kind", Align::Left),
        ("waiter", Align::Left),
        ("waited for", Align::Left),
        ("waits", Align::Right),
        ("time", Align::Right),
        ("confidence", Align::Left),
    ]);
    for edge in &report.edges.rows {
        table.row([
            edge.lock.clone(),
            edge.kind.word().to_owned(),
            party(&edge.waiter),
            holder(edge),
            units::count(edge.waits),
            units::duration(edge.wait_ns),
            confidence(edge),
        ]);
    }
    table.write(out)?;
    if report.edges.hidden() > 0 {
        writeln!(out, "{} more are not shown (--top)", report.edges.hidden())?;
    }
    Ok(())
}

fn stacks(out: &mut dyn Write, row: &LockRow) -> anyhow::Result<()> {
    let lists = [
        ("waited in", &row.wait_stacks),
        (
            "the thread waited for had left its CPU in",
            &row.holder_stacks,
        ),
    ];
    for (what, list) in lists {
        let Some(stack) = list.rows.first() else {
            continue;
        };
        write!(
            out,
            "\n{} {}, {}: {what}",
            row.id,
            row.kind.word(),
            units::duration(stack.ns)
        )?;
        match list.total {
            1 => writeln!(out)?,
            total => writeln!(out, " (the longest of {total} stacks)")?,
        }
        for frame in above_the_kernel(&stack.frames).rev() {
            writeln!(out, "    {}", printable(frame))?;
        }
    }
    Ok(())
}

/// The frames of a stack down to the syscall's own function: what the kernel does in it is the same for
/// all.
fn above_the_kernel(frames: &[String]) -> impl DoubleEndedIterator<Item = &String> {
    let syscall = frames.iter().position(|frame| frame.contains("_sys_"));
    let shown = syscall.map_or(frames.len(), |at| at + 1);
    let entry =
        |frame: &&String| !frame.starts_with("entry_SYSCALL") && !frame.starts_with("do_syscall");
    frames.get(..shown).unwrap_or_default().iter().filter(entry)
}

/// Writes who waited for whom as a graph for Graphviz.
///
/// # Errors
/// Those of `out`.
pub fn dot(out: &mut dyn Write, report: &LocksReport) -> anyhow::Result<()> {
    writeln!(
        out,
        "digraph locks {{\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];"
    )?;
    writeln!(out, "  edge [fontname=\"sans-serif\", fontsize=10];")?;
    let mut names = BTreeSet::new();
    for edge in &report.edges.rows {
        names.insert(party(&edge.waiter));
        names.insert(holder(edge));
    }
    for name in names {
        writeln!(out, "  {};", quoted(&name))?;
    }
    for edge in &report.edges.rows {
        writeln!(
            out,
            "  {} -> {} [label={}];",
            quoted(&party(&edge.waiter)),
            quoted(&holder(edge)),
            quoted(&label(edge))
        )?;
    }
    Ok(writeln!(out, "}}")?)
}

/// A thread: `worker/4711`.
pub fn party(party: &LockParty) -> String {
    format!("{}/{}", printable(&party.comm), party.tid)
}

/// Whom a wait was for.
pub fn holder(edge: &LockEdge) -> String {
    edge.holder.as_ref().map_or("not known".to_owned(), party)
}

/// What an edge says: `l1 mutex, 12.0 ms, 4 waits`.
pub fn label(edge: &LockEdge) -> String {
    let label = format!(
        "{} {}, {}",
        edge.lock,
        edge.kind.word(),
        units::duration(edge.wait_ns)
    );
    match edge.waits {
        // It held the lock for a part of waits that another thread ended.
        0 => label,
        waits => format!("{label}, {}", units::counted(waits, "wait")),
    }
}

fn confidence(edge: &LockEdge) -> String {
    use crate::analysis::lock_table::Confidence;
    match edge.confidence {
        Confidence::High => "high",
        Confidence::Medium => "medium",
        Confidence::Low => "low",
        Confidence::None => "",
    }
    .to_owned()
}

fn some(count: u64) -> String {
    if count == 0 {
        String::new()
    } else {
        units::count(count)
    }
}

fn time(ns: i64) -> String {
    if ns == 0 {
        String::new()
    } else {
        units::duration(ns)
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
