//! Thread timelines as SVG: a lane per thread, grouped by process, over one time axis.

use std::{fmt::Write as _, io::Write};

use crate::{
    analysis::timeline::{Block, ProcessTracks, TimelineReport, TrackReport},
    model::slice::{Reason, State},
    render::{axis, units},
};

const LABELS: f64 = 190.0;
const PLOT: f64 = 1_200.0;
const RIGHT: f64 = 24.0;
const LANE: f64 = 18.0;
const GAP: f64 = 4.0;
const GROUP: f64 = 24.0;
const TOP: f64 = 96.0;
/// The most blocks of a lane that say what they are when pointed at.
const TITLES: usize = 400;

/// All states in the order of the legend, each with its colour.
pub(super) const COLOURS: [(State, &str); 13] = [
    (State::Running, "#2f9e44"),
    (State::Runnable, "#f59f00"),
    (State::Blocked(Reason::Network), "#4dabf7"),
    (State::Blocked(Reason::Disk), "#c92a2a"),
    (State::Blocked(Reason::Lock), "#f06595"),
    (State::Blocked(Reason::Poll), "#d0ebff"),
    (State::Blocked(Reason::Timer), "#e5dbff"),
    (State::Blocked(Reason::Pipe), "#3bc9db"),
    (State::Blocked(Reason::Child), "#b197fc"),
    (State::Blocked(Reason::PageFault), "#862e9c"),
    (State::Blocked(Reason::Stopped), "#495057"),
    (State::Blocked(Reason::Other), "#ced4da"),
    (State::Unknown, "url(#unknown)"),
];

/// Writes the picture.
///
/// # Errors
/// Those of `out`.
pub fn svg(out: &mut dyn Write, report: &TimelineReport) -> anyhow::Result<()> {
    let lanes: usize = report
        .processes
        .iter()
        .map(|process| process.tracks.len())
        .sum();
    let groups = report.processes.len() as f64;
    let bottom = TOP + groups * GROUP + lanes as f64 * (LANE + GAP);
    let notes = report.warnings.len() + usize::from(report.shared > 0);
    let height = bottom + 28.0 + notes as f64 * 16.0;
    let width = LABELS + PLOT + RIGHT;
    let scale = Scale::new(report);
    head(out, report, width, height)?;
    legend(out, report)?;
    let x = |tick| scale.x(tick);
    let length = scale.length_ns as i64;
    axis::write(
        out,
        (report.from_ns, report.to_ns),
        length,
        (TOP, bottom),
        x,
    )?;
    let mut y = TOP;
    for process in &report.processes {
        group(out, process, y)?;
        y += GROUP;
        for track in &process.tracks {
            lane(out, track, scale, y)?;
            y += LANE + GAP;
        }
    }
    foot(out, report, bottom + 20.0)?;
    writeln!(out, "</svg>")?;
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Scale {
    from_ns: i64,
    length_ns: f64,
    column: f64,
}

impl Scale {
    fn new(report: &TimelineReport) -> Self {
        Self {
            from_ns: report.from_ns,
            length_ns: (report.to_ns.saturating_sub(report.from_ns)).max(1) as f64,
            column: PLOT / report.columns.max(1) as f64,
        }
    }

    fn x(self, ns: i64) -> f64 {
        let part = ns.saturating_sub(self.from_ns) as f64 / self.length_ns;
        LABELS + part.clamp(0.0, 1.0) * PLOT
    }
}

fn head(
    out: &mut dyn Write,
    report: &TimelineReport,
    width: f64,
    height: f64,
) -> anyhow::Result<()> {
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="12" fill="#212529">
<defs><pattern id="unknown" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#f8f9fa"/><rect width="2" height="6" fill="#ced4da"/></pattern></defs>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="600">Threads over time<tspan dx="14" font-size="12" font-weight="400" fill="#868e96">{}</tspan></text>"##,
        escape(&report.title)
    )?;
    Ok(())
}

fn legend(out: &mut dyn Write, report: &TimelineReport) -> anyhow::Result<()> {
    let tracks = || report.processes.iter().flat_map(|process| &process.tracks);
    let mut x = 16.0;
    for (state, colour) in COLOURS {
        if !tracks().any(|track| has(track, state)) {
            continue;
        }
        let word = words(state);
        writeln!(
            out,
            r##"<rect x="{x}" y="42" width="12" height="12" rx="2" fill="{colour}" stroke="#adb5bd" stroke-width="0.5"/><text x="{}" y="52">{word}</text>"##,
            x + 17.0
        )?;
        x += 34.0 + word.len() as f64 * 6.8;
    }
    Ok(())
}

fn has(track: &TrackReport, state: State) -> bool {
    match state {
        State::Running => track.times.running_ns > 0,
        State::Runnable => track.times.runnable_ns > 0,
        State::Unknown => track.times.unknown_ns > 0,
        State::Blocked(reason) => track.times.by_reason().any(|(r, ns)| r == reason && ns > 0),
    }
}

pub(super) fn words(state: State) -> &'static str {
    match state {
        State::Blocked(Reason::PageFault) => "page fault",
        State::Blocked(Reason::Other) => "blocked, other",
        state => state.word(),
    }
}

fn group(out: &mut dyn Write, process: &ProcessTracks, y: f64) -> anyhow::Result<()> {
    let command = shorten(&process.command, 150);
    writeln!(
        out,
        r##"<text x="16" y="{:.1}" font-weight="600">{}<tspan dx="8" fill="#868e96" font-weight="400">{}</tspan></text>"##,
        y + 15.0,
        process.pid.map_or(String::new(), |pid| pid.to_string()),
        escape(&command)
    )?;
    Ok(())
}

fn lane(out: &mut dyn Write, track: &TrackReport, scale: Scale, y: f64) -> anyhow::Result<()> {
    let name = shorten(&track.comm, 18);
    writeln!(
        out,
        r##"<g><title>{}</title><text x="{}" y="{:.1}" text-anchor="end">{} <tspan fill="#868e96" font-size="11">{}</tspan></text>"##,
        escape(&summary(track)),
        LABELS - 8.0,
        y + 13.0,
        escape(&name),
        track.tid.map_or(String::new(), |tid| tid.to_string())
    )?;
    let (x0, x1) = (scale.x(track.life_ns.0), scale.x(track.life_ns.1));
    writeln!(
        out,
        r##"<rect x="{x0:.1}" y="{y:.1}" width="{:.1}" height="{LANE}" fill="#f8f9fa"/></g>"##,
        (x1 - x0).max(0.5)
    )?;
    columns(out, track, scale, y)?;
    for (index, block) in track.blocks.iter().enumerate() {
        rect(out, block, scale, y, index < TITLES)?;
    }
    Ok(())
}

fn summary(track: &TrackReport) -> String {
    let times = &track.times;
    let total = times.total_ns();
    let name = match track.tid {
        Some(tid) => format!("{}/{tid}", track.comm),
        None => format!("{} together", track.comm),
    };
    let mut text = format!("{name}: {}", units::duration(total));
    let states = [
        ("running", times.running_ns),
        ("runnable", times.runnable_ns),
    ];
    let reasons = times.by_reason().map(|(reason, ns)| (reason.word(), ns));
    let all = states
        .into_iter()
        .chain(reasons)
        .chain([("unknown", times.unknown_ns)]);
    for (word, ns) in all.filter(|(_, ns)| *ns > 0) {
        let _ = write!(
            text,
            "\n{word} {} ({})",
            units::duration(ns),
            units::percent(ns, total)
        );
    }
    text
}

/// Mixed columns: the states stacked from the bottom, running first, one path for each state.
fn columns(out: &mut dyn Write, track: &TrackReport, scale: Scale, y: f64) -> anyhow::Result<()> {
    let mut paths: Vec<(State, &str, String)> = COLOURS
        .iter()
        .map(|&(state, colour)| (state, colour, String::new()))
        .collect();
    for (column, parts) in &track.columns {
        let x = LABELS + *column as f64 * scale.column;
        let mut bottom = y + LANE;
        for (state, _, path) in &mut paths {
            let part = parts
                .iter()
                .find(|(of, _)| of == state)
                .map_or(0.0, |(_, part)| *part);
            let height = part.min(1.0) * LANE;
            if height >= 0.05 {
                let _ = write!(
                    path,
                    "M{x:.1},{bottom:.1}v-{height:.1}h{:.2}v{height:.1}",
                    scale.column
                );
                bottom -= height;
            }
        }
    }
    for (_, colour, path) in paths.iter().filter(|(_, _, path)| !path.is_empty()) {
        writeln!(out, r#"<path fill="{colour}" d="{path}"/>"#)?;
    }
    Ok(())
}

fn rect(
    out: &mut dyn Write,
    block: &Block,
    scale: Scale,
    y: f64,
    titled: bool,
) -> anyhow::Result<()> {
    let colour = COLOURS
        .iter()
        .find(|(state, _)| *state == block.state)
        .map_or("#fff", |(_, c)| c);
    let (x0, x1) = (scale.x(block.start_ns), scale.x(block.end_ns));
    write!(
        out,
        r#"<rect x="{x0:.1}" y="{y:.1}" width="{:.1}" height="{LANE}" fill="{colour}""#,
        x1 - x0
    )?;
    if !titled {
        writeln!(out, "/>")?;
        return Ok(());
    }
    let length = units::duration(block.end_ns.saturating_sub(block.start_ns));
    let mut title = format!(
        "{} {length} at {}",
        words(block.state),
        units::offset(block.start_ns)
    );
    if !block.detail.is_empty() {
        let _ = write!(title, "\n{}", block.detail);
    }
    writeln!(out, "><title>{}</title></rect>", escape(&title))?;
    Ok(())
}

fn foot(out: &mut dyn Write, report: &TimelineReport, y: f64) -> anyhow::Result<()> {
    let shared = (report.shared > 0).then(|| {
        format!(
            "{} threads that ran less are drawn together with others of their process (--top)",
            report.shared
        )
    });
    let notes = shared.iter().chain(&report.warnings);
    for (index, note) in notes.enumerate() {
        let y = y + index as f64 * 16.0;
        let note = escape(&shorten(note, 220));
        writeln!(
            out,
            r##"<text x="16" y="{y:.1}" font-size="11" fill="#c92a2a">{note}</text>"##
        )?;
    }
    Ok(())
}

/// At most `limit` characters of `text`.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars()
        .take(limit.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// `text` for use in XML: markup escaped, characters that XML has no form for replaced.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_capture_are_escaped() {
        assert_eq!(
            escape("<a href=\"x\">\u{1}&"),
            "&lt;a href=&quot;x&quot;&gt;\u{fffd}&amp;"
        );
        assert_eq!(shorten("abcdef", 4), "abc…");
    }
}
