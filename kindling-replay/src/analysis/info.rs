//! What a capture is: host, time, rows and bytes per table, losses, the recorder's own cost.

use std::collections::BTreeMap;

use kindling_format::{
    Completion,
    header::{Dump, Source},
    schema::{Loss, Overhead, Table, tables},
};
use serde::Serialize;

use crate::{
    context::{Completeness, Context},
    model::catalog::Catalog,
    render::json::CaptureReport,
    scan::{self, Segment},
};

/// The answer of `info`.
#[derive(Debug, Serialize)]
pub struct InfoReport {
    /// The same as in every answer.
    #[serde(skip)]
    pub capture: CaptureReport,
    /// The same as in every answer.
    #[serde(skip)]
    pub completeness: Completeness,
    /// The program that wrote the capture.
    pub tool: String,
    /// The recorded machine's operating system.
    pub os: String,
    /// Its CPUs.
    pub cpus: u32,
    /// Wall time of the end.
    pub end_time: Option<String>,
    /// Why the recording ended; `None` in an unfinished capture.
    pub end_reason: Option<String>,
    /// How the started command ended, as `wait(2)` reports.
    pub exit_status: Option<i32>,
    /// Why a flight recorder wrote it; `None` if it was written as it was recorded.
    pub dump: Option<DumpReport>,
    /// How the capture was made of others, oldest step first; empty as a recorder writes it.
    pub history: Vec<String>,
    /// What was recorded: `all`, or those of `command`, `pids`, `comms`, `cgroups` and `containers`
    /// that were named.
    pub target: String,
    /// The command that was started.
    pub command: Vec<String>,
    /// The processes that were named.
    pub pids: Vec<u32>,
    /// The names of processes that were named.
    pub comms: Vec<String>,
    /// The cgroups that were named.
    pub cgroups: Vec<String>,
    /// The containers that were named.
    pub containers_named: Vec<String>,
    /// The most bytes kept of one payload.
    pub payload_bytes: u32,
    /// Stack samples per second and CPU.
    pub sample_hz: u32,
    /// Times of events are whole steps of this; 0 or 1 if they are as the clock gave them.
    pub resolution_ns: u32,
    /// The size of the file.
    pub size_bytes: u64,
    /// Segments of the capture.
    pub segments: u64,
    /// Processes of the target.
    pub processes: u64,
    /// Threads of the target.
    pub threads: u64,
    /// The containers that the target's processes were in.
    pub containers: Vec<ContainerReport>,
    /// Rows and bytes of each table that the capture has.
    pub tables: Vec<TableReport>,
    /// Events that did not arrive in the window, by table and cause.
    pub losses: Vec<LossReport>,
    /// What recording cost; `None` if the capture does not say.
    pub recorder: Option<RecorderReport>,
    /// Sources of events that were not recorded, and why.
    pub missing_sources: Vec<SourceReport>,
}

/// What made a flight recorder write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DumpReport {
    /// The trigger as it was given to the recorder; `signal` or `command` if somebody asked.
    pub trigger: String,
    /// What happened, in words.
    pub event: String,
    /// When, since the start of the capture.
    pub at_ns: i64,
    /// The process that did it.
    pub pid: Option<u32>,
    /// The thread.
    pub tid: Option<u32>,
    /// The thread's name.
    pub comm: String,
    /// How long it took; `None` for what has no length.
    pub latency_ns: Option<i64>,
    /// How many times a trigger fired since the last dump without one of its own.
    pub suppressed: u64,
}

/// A container that processes of the target were in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerReport {
    /// Its id.
    pub id: String,
    /// Its name, if the recorder could read it.
    pub name: Option<String>,
    /// The runtime that its cgroup tells of.
    pub runtime: Option<String>,
    /// The uid of its Kubernetes pod.
    pub pod_uid: Option<String>,
    /// Processes of the target in it.
    pub processes: u64,
}

/// A table of the capture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableReport {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes in the file.
    pub size_bytes: u64,
    /// Bytes per row.
    pub bytes_per_row: f64,
    /// Events of it that did not arrive.
    pub lost: u64,
}

/// Losses of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LossReport {
    /// The table whose rows are missing.
    pub table: String,
    /// Why.
    pub cause: String,
    /// How many.
    pub count: u64,
}

/// What the recorder took of the machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RecorderReport {
    /// How long it was watched.
    pub watched_ns: i64,
    /// CPU time of its process.
    pub cpu_ns: i64,
    /// The same, as a part of one CPU.
    pub cpu_percent: f64,
    /// Time in its BPF programs on all CPUs while that was measured; `None` if it was not.
    pub bpf_ns: Option<i64>,
    /// Runs of BPF programs meanwhile; `None` likewise.
    pub bpf_runs: Option<u64>,
    /// For how long it was measured; `None` likewise.
    pub bpf_sampled_ns: Option<i64>,
    /// `bpf_ns` as a part of one CPU in that time; `None` likewise.
    pub bpf_percent: Option<f64>,
    /// Records that it took from the rings.
    pub records: u64,
    /// The most bytes that waited in a ring.
    pub ring_peak_bytes: u64,
    /// Its most resident memory.
    pub rss_peak_bytes: u64,
}

/// A source of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Why it was not recorded.
    pub detail: String,
}

/// Describes the capture.
pub fn report(context: &Context) -> InfoReport {
    let header = context.capture.header();
    let catalog = Catalog::load(context);
    let tables = table_reports(context);
    let recorder = recorder(context);
    let summary = context.capture.summary();
    let losses = losses(context);
    let lost = |table: &str| {
        losses
            .iter()
            .filter(|loss| loss.table == table)
            .map(|loss| loss.count)
            .sum()
    };
    let tables = tables.into_iter().map(|table| TableReport {
        lost: lost(&table.table),
        ..table
    });
    InfoReport {
        tables: tables.collect(),
        capture: CaptureReport::new(context),
        completeness: context.completeness(),
        tool: header.tool.clone(),
        os: header.host.os.clone(),
        cpus: header.host.cpus,
        end_time: context.clock.wall(context.span.to),
        end_reason: summary.map(|summary| summary.reason.clone()),
        exit_status: summary.and_then(|summary| summary.exit_status),
        dump: header.dump.as_ref().map(|dump| dump_report(context, dump)),
        history: header.history.clone(),
        target: header.options.target.clone(),
        command: header.options.command.clone(),
        pids: header.options.pids.clone(),
        comms: header.options.comms.clone(),
        cgroups: header.options.cgroups.clone(),
        containers_named: header.options.containers.clone(),
        payload_bytes: header.options.payload_bytes,
        sample_hz: header.options.sample_hz,
        resolution_ns: header.options.resolution_ns,
        size_bytes: context.capture.size_bytes(),
        segments: context.capture.segments().count() as u64,
        processes: catalog
            .processes
            .values()
            .filter(|process| process.target)
            .count() as u64,
        threads: catalog
            .threads
            .values()
            .filter(|thread| thread.target)
            .count() as u64,
        containers: containers(&catalog),
        losses,
        recorder,
        missing_sources: missing_sources(&header.sources),
    }
}

fn dump_report(context: &Context, dump: &Dump) -> DumpReport {
    DumpReport {
        trigger: dump.trigger.clone(),
        event: dump.event.clone(),
        at_ns: context.offset_ns(dump.ts),
        pid: dump.pid,
        tid: dump.tid,
        comm: dump.comm.clone(),
        latency_ns: dump.latency_ns,
        suppressed: dump.suppressed,
    }
}

fn containers(catalog: &Catalog) -> Vec<ContainerReport> {
    let mut found: BTreeMap<&str, ContainerReport> = BTreeMap::new();
    let targets = catalog.processes.values().filter(|process| process.target);
    for process in targets {
        let Some(id) = process.container.as_deref() else {
            continue;
        };
        let report = found.entry(id).or_insert_with(|| ContainerReport {
            id: id.to_owned(),
            name: process.container_name.clone(),
            runtime: process.container_runtime.clone(),
            pod_uid: process.pod_uid.clone(),
            processes: 0,
        });
        report.processes += 1;
    }
    found.into_values().collect()
}

fn missing_sources(sources: &[Source]) -> Vec<SourceReport> {
    let missing = sources.iter().filter(|source| !source.available);
    let report = |source: &Source| SourceReport {
        name: source.name.clone(),
        detail: source.detail.clone(),
    };
    missing.map(report).collect()
}

fn table_reports(context: &Context) -> Vec<TableReport> {
    let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    scan::segments(
        context,
        "counting rows",
        |segment| member_sizes(context, segment),
        |members| {
            for (table, rows, size_bytes) in members {
                let total = found.entry(table).or_default();
                total.0 = total.0.saturating_add(rows);
                total.1 = total.1.saturating_add(size_bytes);
            }
        },
    );
    let known: Vec<&str> = tables().into_iter().map(|table| table.name).collect();
    let place = |table: &str| {
        known
            .iter()
            .position(|name| *name == table)
            .unwrap_or(known.len())
    };
    let mut reports: Vec<TableReport> = found
        .into_iter()
        .map(|(table, (rows, size_bytes))| TableReport {
            table,
            rows,
            size_bytes,
            bytes_per_row: if rows == 0 {
                0.0
            } else {
                size_bytes as f64 / rows as f64
            },
            lost: 0,
        })
        .collect();
    reports.sort_by_key(|report| place(&report.table));
    reports
}

/// Table, rows and bytes of each member: from the index, else by a look at the member.
fn member_sizes(context: &Context, segment: Segment<'_>) -> Vec<(String, u64, u64)> {
    let members = context.capture.members(segment.number);
    members
        .map(|(table, member)| {
            let rows = match &member.index {
                Some(index) => index.rows,
                None => rows_of(segment, table),
            };
            (table.to_owned(), rows, member.entry.size_bytes)
        })
        .collect()
}

/// The number of rows of a member that the index does not list.
fn rows_of(segment: Segment<'_>, table: &str) -> u64 {
    macro_rules! each {
        ($($row:ident),*) => {
            match table {
                $(kindling_format::schema::$row::NAME => {
                    let first = kindling_format::schema::$row::specs().first().map(|spec| spec.name);
                    let first: Vec<&str> = first.into_iter().collect();
                    segment.columns::<kindling_format::schema::$row>(Some(&first)).len() as u64
                })*
                _ => 0,
            }
        };
    }
    kindling_format::for_each_table!(each)
}

fn losses(context: &Context) -> Vec<LossReport> {
    let window = context.selection.window;
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    scan::segments(
        context,
        "counting losses",
        |segment| {
            segment
                .rows_within::<Loss>(window)
                .iter()
                .collect::<Vec<_>>()
        },
        |rows| {
            for row in rows
                .into_iter()
                .filter(|row| window.overlaps(row.ts, row.end_ts))
            {
                let count = counts.entry((row.source, row.cause)).or_default();
                *count = count.saturating_add(row.count);
            }
        },
    );
    let report = |((table, cause), count)| LossReport {
        table,
        cause,
        count,
    };
    counts.into_iter().map(report).collect()
}

fn recorder(context: &Context) -> Option<RecorderReport> {
    let mut rows: Vec<Overhead> = Vec::new();
    scan::segments(
        context,
        "reading the recorder's cost",
        |segment| segment.rows::<Overhead>().iter().collect::<Vec<_>>(),
        |some| rows.extend(some),
    );
    if rows.is_empty() {
        return match context.capture.completion() {
            Completion::Finished(summary) if summary.recorder_cpu_ns > 0 => Some(RecorderReport {
                watched_ns: context.span.length_ns(),
                cpu_ns: summary.recorder_cpu_ns,
                cpu_percent: percent(summary.recorder_cpu_ns, context.span.length_ns()),
                ..RecorderReport::default()
            }),
            _ => None,
        };
    }
    let sum = |of: fn(&Overhead) -> i64| rows.iter().map(of).fold(0, i64::saturating_add);
    let (watched_ns, cpu_ns) = (sum(|row| row.dur), sum(|row| row.cpu_ns));
    let sampled = |of: fn(&Overhead) -> Option<i64>| {
        let values = rows.iter().filter_map(of);
        values.reduce(i64::saturating_add)
    };
    let bpf_ns = sampled(|row| row.bpf_ns);
    let bpf_sampled_ns = sampled(|row| row.bpf_sampled_ns);
    let bpf_runs = rows.iter().filter_map(|row| row.bpf_runs);
    Some(RecorderReport {
        watched_ns,
        cpu_ns,
        cpu_percent: percent(cpu_ns, watched_ns),
        bpf_ns,
        bpf_runs: bpf_runs.reduce(u64::saturating_add),
        bpf_sampled_ns,
        bpf_percent: bpf_ns
            .zip(bpf_sampled_ns)
            .map(|(ns, sampled_ns)| percent(ns, sampled_ns)),
        records: rows
            .iter()
            .map(|row| row.records)
            .fold(0, u64::saturating_add),
        ring_peak_bytes: rows.iter().map(|row| row.ring_bytes).max().unwrap_or(0),
        rss_peak_bytes: rows.iter().map(|row| row.rss_bytes).max().unwrap_or(0),
    })
}

fn percent(part: i64, whole: i64) -> f64 {
    if whole <= 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}
