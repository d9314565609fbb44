//! `critical-path` for reading.

use std::io::Write;

use crate::{
    analysis::{
        critical_path_compare::{CompareReport, Group},
        critical_path_report::{PathPiece, PathReport, PathThread, PathWaker},
    },
    render::{
        table::{Align, TextTable, printable},
        units,
    },
};

/// The innermost functions of a stack that fit into a line.
const FRAMES: usize = 3;

/// Writes the path of one thread or request.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &PathReport) -> anyhow::Result<()> {
    writeln!(out, "critical path of {}", printable(&report.of))?;
    writeln!(
        out,
        "from {} to {}, {}, as {} was done\n",
        units::offset(report.from_ns),
        units::offset(report.to_ns),
        units::duration(report.length_ns),
        thread(&report.thread)
    )?;
    let mut table = TextTable::new(&[
        ("thread", Align::Left),
        ("state", Align::Left),
        ("pieces", Align::Right),
        ("time", Align::Right),
        ("share", Align::Right),
    ]);
    for part in &report.parts.rows {
        table.row([
            thread(&part.thread),
            part.state.word().to_owned(),
            units::count(part.pieces),
            units::duration(part.ns),
            units::percent(part.ns, report.length_ns),
        ]);
    }
    table.write(out)?;
    if report.parts.hidden() > 0 {
        let hidden = units::count(report.parts.hidden());
        writeln!(out, "{hidden} more are not shown (--top)")?;
    }
    match report.pieces.hidden() {
        0 => writeln!(out, "\n{}", units::counted(report.pieces.total, "piece"))?,
        _ => writeln!(
            out,
            "\nthe {} longest of {}, in the order of time",
            report.pieces.rows.len(),
            units::counted(report.pieces.total, "piece")
        )?,
    }
    let mut table = TextTable::new(&[
        ("start", Align::Right),
        ("time", Align::Right),
        ("thread", Align::Left),
        ("state", Align::Left),
        ("in", Align::Left),
        ("made to go on by", Align::Left),
        ("stack", Align::Left),
    ]);
    for piece in &report.pieces.rows {
        table.row([
            units::offset(piece.start_ns),
            units::duration(piece.length_ns),
            format!(
                "{}{}",
                "· ".repeat(piece.depth.min(8)),
                thread(&piece.thread)
            ),
            piece.state.word().to_owned(),
            place(piece),
            piece.woken_by.as_ref().map_or(String::new(), waker),
            stack(&piece.frames),
        ]);
    }
    table.without_empty_columns().write(out)?;
    Ok(())
}

/// Writes what makes slow requests slow.
///
/// # Errors
/// Those of `out`.
pub fn compared(out: &mut dyn Write, report: &CompareReport) -> anyhow::Result<()> {
    let group = |group: &Group| {
        format!(
            "{} of {} to {}, {} on average",
            units::counted(group.paths, "request"),
            units::duration(group.min_ns),
            units::duration(group.max_ns),
            units::duration(group.mean_ns)
        )
    };
    writeln!(out, "usual  {} (p40 to p60)", group(&report.usual))?;
    writeln!(
        out,
        "slow   {} (p99 and slower), of {} in all\n",
        group(&report.slow),
        units::count(report.requests)
    )?;
    let mut table = TextTable::new(&[
        ("process", Align::Left),
        ("state", Align::Left),
        ("in", Align::Left),
        ("usual", Align::Right),
        ("slow", Align::Right),
        ("difference", Align::Right),
        ("share", Align::Right),
    ]);
    let whole = report.slow.mean_ns.saturating_sub(report.usual.mean_ns);
    for part in &report.parts.rows {
        table.row([
            printable(&part.process),
            part.state.word().to_owned(),
            part.syscall.clone().unwrap_or_default(),
            units::duration(part.usual_ns),
            units::duration(part.slow_ns),
            units::duration(part.difference_ns),
            units::percent(part.difference_ns, whole),
        ]);
    }
    table.write(out)?;
    Ok(())
}

/// A thread: `worker/4711`.
pub fn thread(thread: &PathThread) -> String {
    format!("{}/{}", printable(&thread.comm), thread.tid)
}

/// What a wait is in: `read of pipe 17`, and what ended it: `epoll_wait of epoll, ended by fd 7, pipe 17 (in)`.
pub fn place(piece: &PathPiece) -> String {
    let call = call(piece.syscall.as_deref(), piece.file.as_deref());
    match &piece.ready {
        Some(ready) => printable(&format!("{call}, ended by {ready}")),
        None => call,
    }
}

/// Who made a thread go on: `redis/17 in write of tcp 10.0.0.1:80`.
pub fn waker(waker: &PathWaker) -> String {
    if waker.interrupt {
        return "interrupt".to_owned();
    }
    let call = call(waker.syscall.as_deref(), waker.file.as_deref());
    match call.as_str() {
        "" => thread(&waker.thread),
        call => format!("{} in {call}", thread(&waker.thread)),
    }
}

fn call(syscall: Option<&str>, file: Option<&str>) -> String {
    match (syscall, file) {
        (Some(syscall), Some(file)) => format!("{syscall} of {}", printable(file)),
        (Some(syscall), None) => syscall.to_owned(),
        (None, _) => String::new(),
    }
}

/// The innermost functions of the program, or of the kernel if there are no others.
fn stack(frames: &[String]) -> String {
    let user = frames.iter().filter(|frame| !frame.ends_with("_[k]"));
    let mut user: Vec<&String> = user.collect();
    if user.is_empty() {
        user = frames.iter().collect();
    }
    let shown = user.iter().rev().take(FRAMES);
    let shown: Vec<String> = shown.map(|frame| printable(frame)).collect();
    shown.join(" < ")
}
