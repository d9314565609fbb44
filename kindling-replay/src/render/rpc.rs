//! `rpcs` for reading.

use std::io::Write;

use crate::{
    analysis::{
        rpc::{RpcsReport, Uncertain},
        rpc_row::{EndRow, RpcRow},
    },
    render::{
        table::{Align, TextTable, printable},
        units,
    },
};

/// Writes the list as text: the operations, then the requests.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &RpcsReport, sorted_by: &str) -> anyhow::Result<()> {
    endpoints(report).write(out)?;
    let (shown, total) = (report.list.rows.len() as u64, report.list.total);
    if shown > 0 {
        let which = if report.list.hidden() == 0 {
            format!("all {}", units::counted(total, "request"))
        } else {
            let total = units::counted(total, "request");
            format!("{} of {total}", units::count(shown))
        };
        writeln!(
            out,
            "\n{which}, {sorted_by} first; `rpc ID` breaks one down"
        )?;
        requests(&report.list.rows).write(out)?;
    }
    for note in notes(report) {
        writeln!(out, "\n{note}")?;
    }
    Ok(())
}

fn endpoints(report: &RpcsReport) -> TextTable {
    let mut table = TextTable::new(&[
        ("protocol", Align::Left),
        ("endpoint", Align::Left),
        ("count", Align::Right),
        ("errors", Align::Right),
        ("no answer", Align::Right),
        ("p50", Align::Right),
        ("p90", Align::Right),
        ("p99", Align::Right),
        ("max", Align::Right),
        ("total", Align::Right),
    ]);
    let time = |ns: Option<i64>| ns.map_or("-".into(), units::duration);
    for row in &report.endpoints {
        table.row([
            protocol(row.protocol, row.tls),
            printable(&row.endpoint),
            units::count(row.count),
            units::count(row.errors),
            units::count(row.no_answer),
            time(row.p50_ns),
            time(row.p90_ns),
            time(row.p99_ns),
            time(row.max_ns),
            units::duration(row.total_ns),
        ]);
    }
    table
}

fn requests(rows: &[RpcRow]) -> TextTable {
    let mut table = TextTable::new(&[
        ("id", Align::Left),
        ("start", Align::Right),
        ("latency", Align::Right),
        ("protocol", Align::Left),
        ("endpoint", Align::Left),
        ("outcome", Align::Left),
        ("client", Align::Left),
        ("server", Align::Left),
        ("sent", Align::Right),
        ("received", Align::Right),
    ]);
    for row in rows {
        table.row([
            row.id.clone(),
            units::offset(row.start_ns),
            row.latency_ns.map_or("-".into(), units::duration),
            protocol(row.protocol, row.tls),
            printable(&row.endpoint),
            outcome(row),
            end(&row.client),
            end(&row.server),
            units::bytes(row.request_bytes),
            row.response_bytes.map_or("-".into(), units::bytes),
        ]);
    }
    table
}

/// A protocol, with a mark if it went through TLS.
pub fn protocol(name: &str, tls: bool) -> String {
    format!("{}{}", printable(name), if tls { "+tls" } else { "" })
}

/// What became of a request, in words.
pub fn outcome(row: &RpcRow) -> String {
    let what = match (row.outcome, &row.error, row.status) {
        ("ok", _, Some(status)) => status.to_string(),
        ("error", Some(error), _) => printable(error),
        ("no_answer", _, _) => "no answer".to_owned(),
        (word, _, _) => word.replace('_', " "),
    };
    format!("{what}{}", if row.inferred { " ~" } else { "" })
}

/// An end of a connection: `nginx/4711`, or its address if it was not recorded.
pub fn end(end: &EndRow) -> String {
    match (&end.comm, end.tid, &end.address) {
        (Some(comm), Some(tid), _) => format!("{}/{tid}", printable(comm)),
        (_, _, Some(address)) => printable(address),
        _ => "not recorded".to_owned(),
    }
}

fn notes(report: &RpcsReport) -> Vec<String> {
    let Uncertain {
        inferred,
        unknown,
        lost_requests,
        lost_responses,
        unmatched_responses,
    } = report.uncertain;
    let limit = match report.payload_bytes {
        0 => "payloads were not recorded, and requests are cut from them: record without --no-payload".to_owned(),
        limit => format!("of each payload the first {} were recorded (--payload-bytes)", units::bytes(limit.into())),
    };
    let mut notes = Vec::new();
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            notes.push(format!("{} {what}", units::count(count)));
        }
    };
    note(
        inferred,
        "requests (~) were paired by the order of turns, because bytes between were not recorded",
    );
    note(
        unknown,
        "requests are unknown: their responses were not recorded",
    );
    note(lost_requests, "times requests could not be followed");
    note(lost_responses, "times responses could not be followed");
    note(
        unmatched_responses,
        "responses answer nothing that was recorded",
    );
    if !notes.is_empty() || report.payload_bytes == 0 {
        notes.push(limit);
    }
    if report.completeness.lost > 0 {
        notes.push(format!(
            "lost in this window: {}",
            units::counted(report.completeness.lost, "event")
        ));
    }
    notes
}
