//! `critical-path` as a picture: a row for each thread, the pieces at their time, and a line where the path
//! goes from one thread to another.

use std::{collections::BTreeMap, io::Write};

use crate::{
    analysis::critical_path_report::{PathPiece, PathReport},
    render::{
        axis,
        critical_path::{place, thread, waker},
        timeline::{COLOURS, escape, shorten, words},
        units,
    },
};

const LABELS: f64 = 200.0;
const PLOT: f64 = 1_100.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 104.0;
const ROW: f64 = 20.0;
const GAP: f64 = 10.0;

/// Writes the picture.
///
/// # Errors
/// Those of `out`.
pub fn svg(out: &mut dyn Write, report: &PathReport, title: &str) -> anyhow::Result<()> {
    let rows = rows(report);
    let bottom = TOP + rows.len() as f64 * (ROW + GAP);
    let (width, height) = (LABELS + PLOT + RIGHT, bottom + 20.0);
    let heading = format!("Critical path of {}", report.of);
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="12" fill="#212529">
<defs><pattern id="unknown" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#f8f9fa"/><rect width="2" height="6" fill="#ced4da"/></pattern></defs>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="600">{}<tspan dx="14" font-size="12" font-weight="400" fill="#868e96">{} · {}</tspan></text>"##,
        escape(&shorten(&heading, 90)),
        units::duration(report.length_ns),
        escape(title)
    )?;
    legend(out, report)?;
    let span = (report.from_ns, report.to_ns);
    axis::write(out, span, report.length_ns, (TOP, bottom), |tick| {
        x(report, tick)
    })?;
    for (row, name) in rows.values() {
        let y = y(*row);
        writeln!(
            out,
            r##"<rect x="{LABELS}" y="{y:.1}" width="{PLOT}" height="{ROW}" fill="#f8f9fa"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"##,
            LABELS - 8.0,
            y + 14.0,
            escape(&shorten(name, 28))
        )?;
    }
    let row_of = |piece: &PathPiece| rows.get(&piece.thread.tid).map_or(0, |(row, _)| *row);
    // Lines come first: pieces cover their ends.
    for pair in report.pieces.rows.windows(2) {
        if let [before, after] = pair
            && before.thread.tid != after.thread.tid
        {
            let x = x(report, after.start_ns);
            writeln!(
                out,
                r##"<path d="M{x:.1},{:.1}V{:.1}" stroke="#495057" stroke-width="1.2"/>"##,
                y(row_of(before)) + ROW / 2.0,
                y(row_of(after)) + ROW / 2.0
            )?;
        }
    }
    for piece in &report.pieces.rows {
        rect(out, report, piece, y(row_of(piece)))?;
    }
    Ok(writeln!(out, "</svg>")?)
}

/// The rows of threads, by tid, with their last names: the one that the path ends with first, then as
/// they come back in time.
fn rows(report: &PathReport) -> BTreeMap<u32, (usize, String)> {
    let last = &report.thread;
    let mut rows = BTreeMap::from([(last.tid, (0, thread(last)))]);
    for piece in report.pieces.rows.iter().rev() {
        let next = rows.len();
        rows.entry(piece.thread.tid)
            .or_insert_with(|| (next, thread(&piece.thread)));
    }
    rows
}

fn y(row: usize) -> f64 {
    TOP + row as f64 * (ROW + GAP)
}

fn x(report: &PathReport, ns: i64) -> f64 {
    let part = ns.saturating_sub(report.from_ns) as f64 / report.length_ns.max(1) as f64;
    LABELS + part.clamp(0.0, 1.0) * PLOT
}

fn legend(out: &mut dyn Write, report: &PathReport) -> anyhow::Result<()> {
    let mut at = 16.0;
    for (state, colour) in COLOURS {
        let Some(&ns) = report.by_state_ns.get(&state).filter(|ns| **ns > 0) else {
            continue;
        };
        let word = format!("{} {}", words(state), units::percent(ns, report.length_ns));
        writeln!(
            out,
            r##"<rect x="{at}" y="42" width="12" height="12" rx="2" fill="{colour}" stroke="#adb5bd" stroke-width="0.5"/><text x="{}" y="52">{word}</text>"##,
            at + 17.0
        )?;
        at += 34.0 + word.chars().count() as f64 * 6.8;
    }
    Ok(())
}

fn rect(out: &mut dyn Write, report: &PathReport, piece: &PathPiece, y: f64) -> anyhow::Result<()> {
    let colour = COLOURS
        .iter()
        .find(|(state, _)| *state == piece.state)
        .map_or("#fff", |(_, colour)| colour);
    let start = x(report, piece.start_ns);
    let end = x(report, piece.start_ns.saturating_add(piece.length_ns));
    let mut title = format!(
        "{}: {} {} at {}",
        thread(&piece.thread),
        words(piece.state),
        units::duration(piece.length_ns),
        units::offset(piece.start_ns)
    );
    let place = place(piece);
    if !place.is_empty() {
        title += &format!("\nin {place}");
    }
    if let Some(by) = &piece.woken_by {
        title += &format!("\nmade to go on by {}", waker(by));
    }
    for frame in &piece.frames {
        title += &format!("\n  {frame}");
    }
    writeln!(
        out,
        r#"<rect x="{start:.2}" y="{y:.1}" width="{:.2}" height="{ROW}" fill="{colour}"><title>{}</title></rect>"#,
        (end - start).max(0.4),
        escape(&title)
    )?;
    Ok(())
}
