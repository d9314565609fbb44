//! `info` for reading.

use std::io::Write;

use crate::{
    analysis::info::{DumpReport, InfoReport, RecorderReport},
    render::{
        table::{Align, TextTable, printable},
        units,
    },
};

/// Writes the report as text.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &InfoReport) -> anyhow::Result<()> {
    for (name, value) in facts(report) {
        if !value.is_empty() {
            writeln!(out, "{name:<10} {}", printable(&value))?;
        }
    }
    writeln!(out)?;
    let mut table = TextTable::new(&[
        ("table", Align::Left),
        ("rows", Align::Right),
        ("bytes", Align::Right),
        ("bytes/row", Align::Right),
        ("lost", Align::Right),
    ]);
    for row in &report.tables {
        table.row([
            printable(&row.table),
            units::count(row.rows),
            units::bytes(row.size_bytes),
            format!("{:.1}", row.bytes_per_row),
            units::count(row.lost),
        ]);
    }
    table.write(out)?;
    containers(out, report)?;
    for loss in &report.losses {
        let (table, cause) = (printable(&loss.table), printable(&loss.cause));
        writeln!(
            out,
            "\nlost: {} of {table}: {cause}",
            units::count(loss.count)
        )?;
    }
    for source in &report.missing_sources {
        let (name, detail) = (printable(&source.name), printable(&source.detail));
        writeln!(out, "\nnot recorded: {name}: {detail}")?;
    }
    Ok(())
}

fn containers(out: &mut dyn Write, report: &InfoReport) -> anyhow::Result<()> {
    if report.containers.is_empty() {
        return Ok(());
    }
    let mut table = TextTable::new(&[
        ("container", Align::Left),
        ("name", Align::Left),
        ("runtime", Align::Left),
        ("pod", Align::Left),
        ("processes", Align::Right),
    ]);
    for row in &report.containers {
        let word = |word: &Option<String>| word.as_deref().map_or("-".to_owned(), printable);
        table.row([
            // As docker and others show it.
            printable(&row.id).chars().take(12).collect(),
            word(&row.name),
            word(&row.runtime),
            word(&row.pod_uid),
            units::count(row.processes),
        ]);
    }
    writeln!(out)?;
    table.write(out)?;
    Ok(())
}

fn facts(report: &InfoReport) -> Vec<(&'static str, String)> {
    let capture = &report.capture;
    let end = match &report.end_reason {
        Some(reason) => format!("finished: {reason}{}", exit(report.exit_status)),
        None => "unfinished: everything up to the last whole member is here".to_owned(),
    };
    let lost = match report.completeness.lost {
        0 => "nothing".to_owned(),
        lost => units::counted(lost, "event"),
    };
    vec![
        (
            "capture",
            format!("{} ({})", capture.file, units::bytes(report.size_bytes)),
        ),
        (
            "format",
            format!("{}, written by {}", capture.format, report.tool),
        ),
        (
            "host",
            format!("{}, {}, {} CPUs", capture.host, report.os, report.cpus),
        ),
        ("kernel", format!("{} {}", capture.kernel, capture.arch)),
        ("start", capture.start_time.clone().unwrap_or_default()),
        ("end", report.end_time.clone().unwrap_or_default()),
        ("duration", units::duration(capture.duration_ns)),
        (
            "times",
            match report.resolution_ns {
                0 | 1 => String::new(),
                step => format!("in steps of {}", units::duration(step.into())),
            },
        ),
        ("state", end),
        ("dump", report.dump.as_ref().map(dump).unwrap_or_default()),
        ("target", target(report)),
        ("history", report.history.join("; ")),
        (
            "threads",
            format!(
                "{} in {}",
                units::count(report.threads),
                units::counted(report.processes, "process")
            ),
        ),
        ("segments", report.segments.to_string()),
        ("lost", lost),
        (
            "recorder",
            report.recorder.as_ref().map(recorder).unwrap_or_default(),
        ),
    ]
}

fn dump(report: &DumpReport) -> String {
    let who = match (report.pid, report.tid) {
        (Some(pid), Some(tid)) => format!(" in {} (pid {pid}, tid {tid})", report.comm),
        _ => String::new(),
    };
    let more = match report.suppressed {
        0 => String::new(),
        count => format!(
            "; {} more triggers since the last dump",
            units::count(count)
        ),
    };
    format!(
        "{}, {} after the start: {}{who}{more}",
        report.trigger,
        units::duration(report.at_ns),
        report.event
    )
}

fn exit(status: Option<i32>) -> String {
    match status {
        None => String::new(),
        Some(status) if status & 0x7f == 0 => format!(", exit code {}", (status >> 8) & 0xff),
        Some(status) => format!(", killed by signal {}", status & 0x7f),
    }
}

fn target(report: &InfoReport) -> String {
    let pids: Vec<String> = report.pids.iter().map(u32::to_string).collect();
    let words = [
        report.target.clone(),
        report.command.join(" "),
        pids.join(","),
        report.comms.join(","),
        report.cgroups.join(","),
        report.containers_named.join(","),
    ];
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn recorder(report: &RecorderReport) -> String {
    let bpf = match (report.bpf_percent, report.bpf_sampled_ns) {
        (Some(percent), Some(sampled_ns)) => format!(
            ", {percent:.1} % in BPF programs (measured for {})",
            units::duration(sampled_ns)
        ),
        _ => String::new(),
    };
    let mut text = format!(
        "{} CPU time ({:.1} % of one CPU){bpf}",
        units::duration(report.cpu_ns),
        report.cpu_percent
    );
    if report.rss_peak_bytes > 0 {
        text += &format!(
            ", {} records, {} memory, rings up to {}",
            units::count(report.records),
            units::bytes(report.rss_peak_bytes),
            units::bytes(report.ring_peak_bytes)
        );
    }
    text
}
