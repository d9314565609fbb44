//! `rpc ID` for reading.

use std::io::Write;

use crate::{
    analysis::{
        rpc_breakdown::{BreakdownReport, PartRow, ThreadPart, WakerRow},
        rpc_row::RpcRow,
    },
    model::slice::State,
    render::{
        rpc::{end, outcome, protocol},
        table::{Align, TextTable, printable},
        units,
    },
};

/// Characters of a bar that stands for the whole request.
const BAR: i64 = 40;

/// Writes the breakdown as text.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &BreakdownReport) -> anyhow::Result<()> {
    for (name, value) in facts(report) {
        if !value.is_empty() {
            writeln!(out, "{name:<9} {value}")?;
        }
    }
    writeln!(out)?;
    stages(report).write(out)?;
    for line in remarks(report) {
        writeln!(out, "\n{line}")?;
    }
    section(out, "threads within the request", threads(&report.threads))?;
    section(out, "syscalls of the serving thread", syscalls(report))?;
    section(
        out,
        "requests that it made meanwhile",
        nested(&report.nested),
    )?;
    if report.completeness.lost > 0 {
        writeln!(
            out,
            "\nlost within the request: {}",
            units::counted(report.completeness.lost, "event")
        )?;
    }
    Ok(())
}

fn section(out: &mut dyn Write, title: &str, table: Option<TextTable>) -> anyhow::Result<()> {
    if let Some(table) = table {
        writeln!(out, "\n{title}")?;
        table.without_empty_columns().write(out)?;
    }
    Ok(())
}

fn facts(report: &BreakdownReport) -> Vec<(&'static str, String)> {
    let rpc = &report.rpc;
    let latency = rpc
        .latency_ns
        .map_or("of unknown latency".into(), units::duration);
    let party = |row| {
        let named = end(row);
        match &row.address {
            Some(address) if *address != named => format!("{named} at {}", printable(address)),
            _ => named,
        }
    };
    let sizes = match rpc.response_bytes {
        Some(response) => format!(
            "{} out, {} back",
            units::bytes(rpc.request_bytes),
            units::bytes(response)
        ),
        None => format!("{} out", units::bytes(rpc.request_bytes)),
    };
    let line = |line: &Option<String>| line.as_deref().map_or(String::new(), printable);
    vec![
        (
            "request",
            format!(
                "{}: {} {}, {}, {latency}",
                rpc.id,
                protocol(rpc.protocol, rpc.tls),
                printable(&rpc.endpoint),
                outcome(rpc)
            ),
        ),
        ("start", units::offset(rpc.start_ns)),
        ("client", party(&rpc.client)),
        ("server", party(&rpc.server)),
        ("bytes", sizes),
        ("sent", line(&report.request_line)),
        ("received", line(&report.response_line)),
    ]
}

fn stages(report: &BreakdownReport) -> TextTable {
    let mut table = TextTable::new(&[
        ("stage", Align::Left),
        ("thread", Align::Right),
        ("time", Align::Right),
        ("share", Align::Right),
        ("", Align::Left),
    ]);
    let whole = report.rpc.latency_ns.unwrap_or(0);
    for stage in &report.stages {
        let tid = stage.tid.map_or(String::new(), |tid| tid.to_string());
        table.row([
            stage.stage.words().to_owned(),
            tid,
            units::duration(stage.duration_ns),
            units::percent(stage.duration_ns, whole),
            bar(stage.start_ns, stage.duration_ns, whole, '█'),
        ]);
        for (at, part) in stage.parts.iter().enumerate() {
            let branch = if at + 1 == stage.parts.len() {
                "└"
            } else {
                "├"
            };
            table.row([
                format!("  {branch} {}", state(part)),
                String::new(),
                units::duration(part.duration_ns),
                units::percent(part.duration_ns, whole),
                String::new(),
            ]);
        }
    }
    table.row([
        "whole request".into(),
        String::new(),
        units::duration(whole),
        units::percent(whole, whole),
        String::new(),
    ]);
    table
}

fn state(part: &PartRow) -> String {
    let times = if part.count > 1 {
        format!(", {} times", units::count(part.count))
    } else {
        String::new()
    };
    let detail = part
        .detail
        .as_deref()
        .map_or(String::new(), |detail| format!(" in {}", printable(detail)));
    match part.state {
        State::Running => format!("on CPU{times}"),
        State::Runnable => format!("waits for a CPU{times}"),
        State::Blocked(reason) => format!("blocked: {}{detail}{times}", reason.word()),
        State::Unknown => "unknown".to_owned(),
    }
}

/// A bar where the stage lies in the request.
fn bar(start_ns: i64, duration_ns: i64, whole_ns: i64, fill: char) -> String {
    if whole_ns <= 0 {
        return String::new();
    }
    let column = |ns: i64| {
        i64::try_from(i128::from(ns) * i128::from(BAR) / i128::from(whole_ns)).unwrap_or(0)
    };
    let (from, to) = (
        column(start_ns),
        column(start_ns.saturating_add(duration_ns)),
    );
    let length = usize::try_from((to - from).max(1)).unwrap_or(1);
    let indent = usize::try_from(from.clamp(0, BAR - 1)).unwrap_or(0);
    format!("{}{}", " ".repeat(indent), fill.to_string().repeat(length))
}

fn remarks(report: &BreakdownReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(longest) = &report.behind.longest {
        lines.push(format!(
            "while it waited, the server's thread had {} in hand, longest {} ({}, {})",
            units::counted(report.behind.count, "other request"),
            longest.id,
            printable(&longest.endpoint),
            units::duration(report.behind.longest_ns),
        ));
    }
    if let Some(hand_off) = &report.hand_off {
        let tids: Vec<String> = hand_off.tids.iter().map(u32::to_string).collect();
        let how = match hand_off.evidence {
            "wakeups" => "each woke the next",
            _ => "the capture does not show how",
        };
        lines.push(format!(
            "it went through the threads {}: {how}",
            tids.join(" → ")
        ));
    }
    let mut woken = |who: &str, waker: &Option<WakerRow>| {
        if let Some(waker) = waker {
            let name = printable(&waker.comm);
            let by = if waker.irq {
                format!("an interrupt on {name}/{}", waker.tid)
            } else {
                format!("{name}/{}", waker.tid)
            };
            lines.push(format!(
                "{who} was woken by {by}, {} after the start",
                units::duration(waker.at_ns)
            ));
        }
    };
    woken("the server's thread", &report.server_woken_by);
    woken("the client's thread", &report.client_woken_by);
    lines
}

fn threads(threads: &[ThreadPart]) -> Option<TextTable> {
    let mut table = TextTable::new(&[
        ("role", Align::Left),
        ("thread", Align::Left),
        ("on CPU", Align::Right),
        ("waits for CPU", Align::Right),
        ("unknown", Align::Right),
        ("blocked", Align::Left),
    ]);
    for part in threads {
        let blocked: Vec<String> = part
            .blocked_by_ns
            .iter()
            .map(|(reason, ns)| format!("{reason} {}", units::duration(*ns)))
            .collect();
        let unknown = if part.unknown_ns > 0 {
            units::duration(part.unknown_ns)
        } else {
            String::new()
        };
        table.row([
            part.role.to_owned(),
            format!("{}/{}", printable(&part.comm), part.tid),
            units::duration(part.running_ns),
            units::duration(part.runnable_ns),
            unknown,
            blocked.join(", "),
        ]);
    }
    (!threads.is_empty()).then_some(table)
}

fn syscalls(report: &BreakdownReport) -> Option<TextTable> {
    let mut table = TextTable::new(&[
        ("syscall", Align::Left),
        ("calls", Align::Right),
        ("errors", Align::Right),
        ("time", Align::Right),
    ]);
    for part in report.syscalls.iter().take(8) {
        let errors = if part.errors > 0 {
            units::count(part.errors)
        } else {
            String::new()
        };
        table.row([
            part.name.clone(),
            units::count(part.count),
            errors,
            units::duration(part.duration_ns),
        ]);
    }
    (!report.syscalls.is_empty()).then_some(table)
}

fn nested(rows: &[RpcRow]) -> Option<TextTable> {
    let mut table = TextTable::new(&[
        ("  id", Align::Left),
        ("start", Align::Right),
        ("latency", Align::Right),
        ("endpoint", Align::Left),
        ("outcome", Align::Left),
        ("server", Align::Left),
    ]);
    for row in rows {
        table.row([
            format!("  {}", row.id),
            units::offset(row.start_ns),
            row.latency_ns.map_or("-".into(), units::duration),
            format!(
                "{} {}",
                protocol(row.protocol, row.tls),
                printable(&row.endpoint)
            ),
            outcome(row),
            end(&row.server),
        ]);
    }
    (!rows.is_empty()).then_some(table)
}
