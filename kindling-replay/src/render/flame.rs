//! Flame graphs: inferno's SVG, folded stacks, and the hottest functions as text.

use std::{borrow::Cow, io::Write};

use inferno::flamegraph::{self, Options, Palette, color::BasicPalette, color::MultiPalette};

use crate::{
    analysis::flame::{FlameReport, Kind, StackRow},
    render::{
        table::{Align, TextTable, printable},
        units,
    },
};

/// Functions in the text form, if `--top` does not say.
const TOP: usize = 30;

/// Writes folded stacks, one per line with its nanoseconds, sorted by name.
///
/// # Errors
/// Those of `out`.
pub fn folded(out: &mut dyn Write, report: &FlameReport) -> anyhow::Result<()> {
    for line in lines(report) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Writes the flame graph.
///
/// # Errors
/// If there are no stacks, and those of `out`.
pub fn svg(out: &mut dyn Write, report: &FlameReport, subtitle: &str) -> anyhow::Result<()> {
    let lines = lines(report);
    if lines.is_empty() {
        let what = match report.kind {
            Kind::OnCpu => "no stack samples; --kind off-cpu may have something",
            Kind::OffCpu | Kind::Wakers => "no blocked threads; --kind on-cpu may have something",
        };
        anyhow::bail!("cannot draw a flame graph: the selection has {what}");
    }
    let mut options = Options::default();
    let (title, colors) = match report.kind {
        Kind::OnCpu => ("On-CPU time", Palette::Basic(BasicPalette::Hot)),
        Kind::OffCpu => ("Off-CPU time", Palette::Basic(BasicPalette::Blue)),
        Kind::Wakers => (
            "Off-CPU time by waker",
            Palette::Multi(MultiPalette::Wakeup),
        ),
    };
    options.title = format!("{title}: {}", units::duration(report.total_ns));
    options.subtitle = Some(subtitle.to_owned());
    options.colors = colors;
    options.count_name = "ns".to_owned();
    options.deterministic = true;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)?;
    Ok(())
}

/// Writes the functions with most time of their own.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &FlameReport, top: Option<usize>) -> anyhow::Result<()> {
    let mut table = TextTable::new(&[
        ("self", Align::Right),
        ("", Align::Right),
        ("total", Align::Right),
        ("", Align::Right),
        ("function", Align::Left),
    ]);
    for row in report.functions.rows.iter().take(top.unwrap_or(TOP)) {
        table.row([
            units::duration(row.self_ns),
            units::percent(row.self_ns, report.total_ns),
            units::duration(row.total_ns),
            units::percent(row.total_ns, report.total_ns),
            printable(&row.function),
        ]);
    }
    table.write(out)?;
    let what = if report.kind == Kind::OnCpu {
        "sample"
    } else {
        "wait"
    };
    writeln!(
        out,
        "\n{} {} in {}, {} in {}",
        units::duration(report.total_ns),
        report.kind.word(),
        units::counted(report.count, what),
        units::counted(report.functions.total, "function"),
        units::counted(report.stacks.total, "stack")
    )?;
    Ok(())
}

fn lines(report: &FlameReport) -> Vec<String> {
    let rows = report.stacks.rows.iter().filter(|row| row.ns > 0);
    let mut lines: Vec<String> = rows.map(line).collect();
    lines.sort_unstable();
    lines
}

fn line(row: &StackRow) -> String {
    let frames: Vec<Cow<'_, str>> = row.frames.iter().map(|frame| clean(frame)).collect();
    format!("{} {}", frames.join(";"), row.ns)
}

/// A name without what means something else in a line of folded stacks.
fn clean(frame: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b';';
    if frame.bytes().all(is_plain) {
        return Cow::Borrowed(frame);
    }
    let safe = |c: char| match c {
        ';' => ':',
        c if c.is_control() => '?',
        c => c,
    };
    frame.chars().map(safe).collect()
}
