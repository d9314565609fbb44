//! `flows` for reading and for Graphviz.

use std::{collections::BTreeSet, io::Write};

use crate::{
    analysis::flow::{FlowRow, FlowsReport, Party},
    render::{
        rpc::protocol,
        table::{Align, TextTable, printable},
        units,
    },
};

/// Writes the flows as text.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &FlowsReport) -> anyhow::Result<()> {
    let mut table = TextTable::new(&[
        ("client", Align::Left),
        ("server", Align::Left),
        ("protocol", Align::Left),
        ("address", Align::Left),
        ("conns", Align::Right),
        ("to server", Align::Right),
        ("to client", Align::Right),
        ("resent", Align::Right),
        ("resets", Align::Right),
        ("max rtt", Align::Right),
        ("requests", Align::Right),
        ("errors", Align::Right),
        ("no answer", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("max", Align::Right),
        ("first", Align::Right),
        ("last", Align::Right),
    ]);
    let time = |ns: Option<i64>| ns.map_or(String::new(), units::duration);
    let moment = |ns: Option<i64>| ns.map_or(String::new(), units::offset);
    for row in &report.list.rows {
        let requests = row.requests.clone().unwrap_or_default();
        let count = |count: u64| {
            row.requests
                .as_ref()
                .map_or(String::new(), |_| units::count(count))
        };
        let some = |count: u64| match count {
            0 => String::new(),
            count => units::count(count),
        };
        let rtt = row.tcp.as_ref().and_then(|tcp| tcp.srtt_max_us);
        table.row([
            party(&row.client),
            party(&row.server),
            protocol(&row.protocol, row.tls),
            row.address.as_deref().map_or(String::new(), printable),
            units::count(row.connections),
            units::bytes(row.request_bytes),
            units::bytes(row.response_bytes),
            some(row.tcp.as_ref().map_or(0, |tcp| tcp.retransmits)),
            some(row.tcp.as_ref().map_or(0, |tcp| tcp.resets)),
            time(rtt.map(|us| i64::from(us) * 1_000)),
            count(requests.count),
            count(requests.errors),
            count(requests.no_answer),
            time(requests.p50_ns),
            time(requests.p99_ns),
            time(requests.max_ns),
            moment(row.first_ns),
            moment(row.last_ns),
        ]);
    }
    table.without_empty_columns().write(out)?;
    if report.list.hidden() > 0 {
        writeln!(
            out,
            "\n{} more flows are not shown (--top)",
            units::count(report.list.hidden())
        )?;
    }
    if report.completeness.lost > 0 {
        writeln!(
            out,
            "\nlost in this window: {}",
            units::counted(report.completeness.lost, "event")
        )?;
    }
    Ok(())
}

/// Writes the flows as a graph for Graphviz.
///
/// # Errors
/// Those of `out`.
pub fn dot(out: &mut dyn Write, report: &FlowsReport) -> anyhow::Result<()> {
    writeln!(
        out,
        "digraph flows {{\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];"
    )?;
    writeln!(out, "  edge [fontname=\"sans-serif\", fontsize=10];")?;
    let parties = report
        .list
        .rows
        .iter()
        .flat_map(|row| [&row.client, &row.server]);
    let names: BTreeSet<(String, bool)> = parties.map(|p| (party(p), p.pid.is_some())).collect();
    for (name, recorded) in names {
        let style = if recorded {
            ""
        } else {
            " [style=\"rounded,dashed\"]"
        };
        writeln!(out, "  {}{style};", quoted(&name))?;
    }
    for row in &report.list.rows {
        let (client, server) = (quoted(&party(&row.client)), quoted(&party(&row.server)));
        writeln!(
            out,
            "  {client} -> {server} [label={}];",
            quoted(&label(row))
        )?;
    }
    Ok(writeln!(out, "}}")?)
}

/// A party's name: `nginx/4711`, or where it is if it was not recorded.
pub fn party(party: &Party) -> String {
    match (&party.comm, party.pid, &party.host) {
        (Some(comm), Some(pid), _) => format!("{}/{pid}", printable(comm)),
        (None, Some(pid), _) => format!("pid {pid}"),
        (_, None, Some(host)) => printable(host),
        _ => "not recorded".to_owned(),
    }
}

/// What an edge says: `redis 127.0.0.1:6379, 4 803 requests, p99 5.20 ms`.
pub fn label(row: &FlowRow) -> String {
    let mut words = vec![protocol(&row.protocol, row.tls)];
    if let Some(address) = &row.address {
        words[0] += &format!(" {}", printable(address));
    }
    match &row.requests {
        Some(requests) => {
            words.push(units::counted(requests.count, "request"));
            if requests.errors + requests.no_answer > 0 {
                words.push(format!(
                    "{} failed",
                    units::count(requests.errors + requests.no_answer)
                ));
            }
            words.extend(
                requests
                    .p99_ns
                    .map(|p99| format!("p99 {}", units::duration(p99))),
            );
        }
        None => words.push(units::bytes(
            row.request_bytes.saturating_add(row.response_bytes),
        )),
    }
    words.join(", ")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
