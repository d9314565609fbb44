//! `thread TID` for reading.

use std::io::Write;

use crate::{
    analysis::story::{Part, Step, StoryReport, WaitRow},
    model::{ended::Ended, slice::Reason},
    render::{
        table::{Align, TextTable, printable},
        units,
    },
};

/// How many kinds of waits are shown.
const SHOWN_WAITS: usize = 8;
/// The most characters of what a part of a step did.
const SHOWN_WHAT: usize = 90;

/// Writes the thread, what it waited for, and its steps.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &StoryReport) -> anyhow::Result<()> {
    head(out, report)?;
    if !report.waits.rows.is_empty() {
        writeln!(out, "\nwaits, the longest first")?;
        waits(report).without_empty_columns().write(out)?;
    }
    if !report.steps.rows.is_empty() {
        writeln!(out, "\nwhat it did; `x` counts repeats in a row")?;
        steps(&report.steps.rows)
            .without_empty_columns()
            .write(out)?;
    }
    match report.steps.hidden() {
        0 => {}
        hidden => writeln!(
            out,
            "\n{} more steps are not shown (--top, --from, --to)",
            units::count(hidden)
        )?,
    }
    Ok(())
}

fn head(out: &mut dyn Write, report: &StoryReport) -> anyhow::Result<()> {
    let thread = &report.thread;
    let command = printable(&report.command);
    writeln!(out, "thread    {}/{}", printable(&thread.comm), thread.tid)?;
    writeln!(out, "process   {}: {command}", thread.pid)?;
    let end = thread.start_ns.saturating_add(thread.lifetime_ns);
    writeln!(
        out,
        "shown     {} from {} to {}",
        units::duration(thread.lifetime_ns),
        units::offset(thread.start_ns),
        units::offset(end)
    )?;
    let blocked = Reason::ALL.map(|reason| (reason.word(), thread.blocked_by(reason)));
    let states = [
        ("running", thread.running_ns),
        ("runnable", thread.runnable_ns),
    ];
    let all = states
        .into_iter()
        .chain(blocked)
        .chain([("unknown", thread.unknown_ns)]);
    let words: Vec<String> = all
        .filter(|(_, ns)| *ns > 0)
        .map(|(word, ns)| {
            let share = units::percent(ns, thread.lifetime_ns);
            format!("{word} {} ({share})", units::duration(ns))
        })
        .collect();
    writeln!(out, "time      {}", words.join(", "))?;
    let requests = [("served", report.served), ("made", report.asked)];
    for (word, count) in requests.into_iter().filter(|(_, count)| *count > 0) {
        writeln!(out, "{word:<8}  {}", units::counted(count, "request"))?;
    }
    Ok(())
}

fn waits(report: &StoryReport) -> TextTable {
    let mut table = TextTable::new(&[
        ("reason", Align::Left),
        ("in", Align::Left),
        ("woken by", Align::Left),
        ("ended", Align::Left),
        ("times", Align::Right),
        ("total", Align::Right),
        ("max", Align::Right),
    ]);
    for row in report.waits.rows.iter().take(SHOWN_WAITS) {
        let place = [&row.syscall, &row.file].into_iter().flatten();
        let place: Vec<String> = place.map(|word| printable(word)).collect();
        table.row([
            row.reason.word().to_owned(),
            place.join(" "),
            row.waker.as_deref().map_or(String::new(), printable),
            ended(row),
            units::count(row.count),
            units::duration(row.total_ns),
            units::duration(row.max_ns),
        ]);
    }
    table
}

/// How a call ended, where that is not because of who woke the thread: `by fd 7, pipe 12 (in)`, or of several
/// `by 3 fds: pipe (in)`.
fn ended(row: &WaitRow) -> String {
    match (&row.ready, row.ended) {
        (Some(ready), _) if row.descriptors > 1 && ready.file.is_some() => {
            printable(&format!("by {} fds: {ready}", row.descriptors))
        }
        (Some(_), _) if row.descriptors > 1 => format!("by {} fds", row.descriptors),
        (Some(ready), _) => printable(&format!("by {ready}")),
        (None, Some(Ended::TimedOut)) => "timed out".into(),
        (None, Some(Ended::Interrupted)) => "interrupted".into(),
        (None, Some(Ended::Open)) => "still open".into(),
        (None, Some(Ended::Woken) | None) => String::new(),
    }
}

fn steps(steps: &[Step]) -> TextTable {
    let mut table = TextTable::new(&[
        ("start", Align::Right),
        ("length", Align::Right),
        ("x", Align::Right),
        ("calls", Align::Right),
        ("time", Align::Right),
        ("what", Align::Left),
        ("bytes", Align::Right),
        ("on CPU", Align::Right),
        ("waits for CPU", Align::Right),
        ("blocked", Align::Right),
        ("for", Align::Left),
        ("woken by", Align::Left),
    ]);
    for step in steps {
        for (index, part) in step.parts.iter().enumerate() {
            let first = |text: String| if index == 0 { text } else { String::new() };
            let times = match step.times {
                1 => String::new(),
                times => units::count(times),
            };
            table.row([
                first(units::offset(step.start_ns)),
                first(units::duration(step.length_ns)),
                first(times),
                if part.calls > 1 {
                    units::count(part.calls)
                } else {
                    String::new()
                },
                some(part.total_ns),
                what(part),
                if part.bytes == 0 {
                    String::new()
                } else {
                    units::bytes(part.bytes)
                },
                some(part.running_ns),
                some(part.runnable_ns),
                some(part.blocked_ns),
                part.blocked_by
                    .map_or(String::new(), |reason| reason.word().to_owned()),
                part.waker.as_deref().map_or(String::new(), printable),
            ]);
        }
    }
    table
}

fn some(ns: i64) -> String {
    match ns {
        0 => String::new(),
        ns => units::duration(ns),
    }
}

fn what(part: &Part) -> String {
    let mut text = match part.kind {
        "between" => "(between calls)".to_owned(),
        _ => part.what.clone(),
    };
    let request = part.request.as_deref().unwrap_or_default();
    for (verb, count) in [("serves", part.serves), ("asks", part.asks)] {
        match count {
            0 => {}
            1 => text += &format!("; {verb} {request}"),
            count => text += &format!("; {verb} {count}, first {request}"),
        }
    }
    if let Some(ready) = &part.ready {
        text += &format!("; ended by {ready}");
    }
    let line = part.line.as_deref().unwrap_or_default();
    match part.lines {
        0 => {}
        1 => text += &format!("; logs {line:?}"),
        count => text += &format!("; logs {count} lines, first {line:?}"),
    }
    let safe = printable(&text);
    match safe.char_indices().nth(SHOWN_WHAT) {
        Some((end, _)) => format!("{}…", safe.get(..end).unwrap_or_default()),
        None => safe,
    }
}
