//! `cpus` for reading, and as a picture: a row for each CPU, coloured by the process that had it.

use std::{fmt::Write as _, io::Write};

use crate::{
    analysis::cpus::{CpuTimes, CpusReport, Picture, RunQueue},
    render::{
        axis,
        table::{Align, TextTable, printable},
        timeline::{escape, shorten},
        units,
    },
};

/// Threads that a line of the text names.
const NAMED: usize = 4;

/// Writes the report as tables.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &CpusReport) -> anyhow::Result<()> {
    let mut table = TextTable::new(&[
        ("cpu", Align::Right),
        ("busy", Align::Right),
        ("", Align::Right),
        ("idle", Align::Right),
        ("unknown", Align::Right),
        ("switches", Align::Right),
        ("who ran", Align::Left),
    ]);
    let cells = |name: String, times: &CpuTimes, ran: String| {
        let whole = times
            .busy_ns
            .saturating_add(times.idle_ns)
            .saturating_add(times.unknown_ns);
        [
            name,
            units::duration(times.busy_ns),
            units::percent(times.busy_ns, whole),
            units::duration(times.idle_ns),
            units::duration(times.unknown_ns),
            units::count(times.switches),
            ran,
        ]
    };
    for row in &report.cpus.rows {
        let named = row.threads.rows.iter().take(NAMED).map(|thread| {
            let time = units::duration(thread.ns);
            format!("{}/{} {time}", printable(&thread.comm), thread.tid)
        });
        let ran = named.collect::<Vec<_>>().join(", ");
        table.row(cells(row.cpu.to_string(), &row.times, ran));
    }
    table.row(cells("all".into(), &report.all, String::new()));
    table.write(out)?;
    writeln!(out, "\nhow long threads waited for a CPU")?;
    let mut table = TextTable::new(&[
        ("cpu", Align::Right),
        ("waits", Align::Right),
        ("preempted", Align::Right),
        ("total", Align::Right),
        ("p50", Align::Right),
        ("p90", Align::Right),
        ("p99", Align::Right),
        ("max", Align::Right),
    ]);
    let cells = |name: String, queue: &RunQueue| {
        [
            name,
            units::count(queue.waits),
            units::count(queue.preempted),
            units::duration(queue.total_ns),
            units::duration(queue.p50_ns),
            units::duration(queue.p90_ns),
            units::duration(queue.p99_ns),
            units::duration(queue.max_ns),
        ]
    };
    for row in &report.cpus.rows {
        table.row(cells(row.cpu.to_string(), &row.run_queue));
    }
    table.row(cells("all".into(), &report.run_queue));
    table.write(out)?;
    if report.cpus.hidden() > 0 {
        writeln!(out, "\n{} CPUs are not shown (--top)", report.cpus.hidden())?;
    }
    Ok(())
}

const LABELS: f64 = 70.0;
const PLOT: f64 = 1_200.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 122.0;
const ROW: f64 = 34.0;
const GAP: f64 = 8.0;
/// The colours of the processes that ran longest, then that of all others.
const COLOURS: [&str; 11] = [
    "#1c7ed6", "#2f9e44", "#f08c00", "#c92a2a", "#862e9c", "#0b7285", "#e64980", "#5c940d",
    "#495057", "#d9480f", "#adb5bd",
];
const IDLE: &str = "#f1f3f5";

/// Writes the picture.
///
/// # Errors
/// Those of `out`.
pub fn svg(out: &mut dyn Write, picture: &Picture, title: &str) -> anyhow::Result<()> {
    let bottom = TOP + picture.rows.len() as f64 * (ROW + GAP);
    let (width, height) = (LABELS + PLOT + RIGHT, bottom + 12.0);
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="12" fill="#212529">
<defs><pattern id="unknown" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#ffffff"/><rect width="2" height="6" fill="#ced4da"/></pattern></defs>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="600">CPUs over time<tspan dx="14" font-size="12" font-weight="400" fill="#868e96">{}</tspan></text>"##,
        escape(title)
    )?;
    legend(out, picture)?;
    let length = picture.to_ns.saturating_sub(picture.from_ns).max(1);
    let x = |tick: i64| {
        let part = tick.saturating_sub(picture.from_ns) as f64 / length as f64;
        LABELS + part * PLOT
    };
    axis::write(
        out,
        (picture.from_ns, picture.to_ns),
        length,
        (TOP, bottom),
        x,
    )?;
    for (index, (cpu, columns)) in picture.rows.iter().enumerate() {
        let y = TOP + index as f64 * (ROW + GAP);
        writeln!(
            out,
            r##"<text x="{}" y="{:.1}" text-anchor="end">CPU {cpu}</text><rect x="{LABELS}" y="{y:.1}" width="{PLOT}" height="{ROW}" fill="url(#unknown)"/>"##,
            LABELS - 8.0,
            y + ROW / 2.0 + 4.0
        )?;
        let column_width = PLOT / picture.columns.max(1) as f64;
        let places = picture.processes.len() + 1;
        let mut paths = vec![String::new(); places + 1];
        for (column, parts) in columns {
            let x = LABELS + *column as f64 * column_width;
            let mut base = y + ROW;
            let parts = parts.processes.iter().chain([&parts.idle]);
            for (path, part) in paths.iter_mut().zip(parts) {
                let height = part.clamp(0.0, 1.0) * ROW;
                if height >= 0.05 {
                    let _ = write!(
                        path,
                        "M{x:.1},{base:.1}v-{height:.1}h{column_width:.2}v{height:.1}"
                    );
                    base -= height;
                }
            }
        }
        for (place, path) in paths
            .iter()
            .enumerate()
            .filter(|(_, path)| !path.is_empty())
        {
            let colour = if place == places {
                IDLE
            } else {
                colour(picture, place)
            };
            writeln!(out, r#"<path fill="{colour}" d="{path}"/>"#)?;
        }
    }
    Ok(writeln!(out, "</svg>")?)
}

fn colour(picture: &Picture, place: usize) -> &'static str {
    let others = place >= picture.processes.len();
    let place = if others { COLOURS.len() - 1 } else { place };
    COLOURS.get(place).copied().unwrap_or(IDLE)
}

fn legend(out: &mut dyn Write, picture: &Picture) -> anyhow::Result<()> {
    let (mut x, mut y) = (16.0, 42.0);
    let processes = picture.processes.iter().enumerate();
    let processes = processes.map(|(place, (pid, comm))| {
        let name = shorten(&format!("{comm}/{pid}"), 24);
        (colour(picture, place), escape(&name))
    });
    let rest = [
        (colour(picture, usize::MAX), "others".to_owned()),
        (IDLE, "idle".to_owned()),
        ("url(#unknown)", "unknown".to_owned()),
    ];
    for (colour, word) in processes.chain(rest) {
        let width = 34.0 + word.chars().count() as f64 * 6.8;
        if x + width > LABELS + PLOT + RIGHT {
            (x, y) = (16.0, y + 18.0);
        }
        writeln!(
            out,
            r##"<rect x="{x:.0}" y="{y}" width="12" height="12" rx="2" fill="{colour}" stroke="#adb5bd" stroke-width="0.5"/><text x="{:.0}" y="{}">{word}</text>"##,
            x + 17.0,
            y + 10.0
        )?;
        x += width;
    }
    Ok(())
}
