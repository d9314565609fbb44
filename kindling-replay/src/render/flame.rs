//! Flame graphs: inferno's SVG, folded stacks, and the hottest functions as text.

use std::{borrow::Cow, io::Write};

use inferno::flamegraph::{self, Options, Palette, color::BasicPalette, color::MultiPalette};

use crate::{
    analysis::flame::{Counted, FlameReport, Kind, StackRow},
    context::Context,
    render::{
        table::{Align, TextTable, printable},
        units,
    },
};

/// Functions in the text form, if `--top` does not say.
const TOP: usize = 30;

/// Functions that are narrower than this percentage of the picture are not drawn.
const NARROWEST: f64 = 0.01;

/// Writes folded stacks, one per line with its nanoseconds, sorted by the names of their functions.
///
/// # Errors
/// Those of `out`.
pub fn folded(out: &mut dyn Write, context: &Context, counted: &Counted) -> anyhow::Result<()> {
    for row in counted.rows(context) {
        writeln!(out, "{}", line(&row))?;
    }
    Ok(())
}

/// Writes the flame graph.
///
/// # Errors
/// If there are no stacks, and those of `out`.
pub fn svg(out: &mut dyn Write, context: &Context, counted: &Counted) -> anyhow::Result<()> {
    let rows = counted.visible(context, NARROWEST / 100.0);
    if rows.is_empty() {
        let what = match counted.kind {
            Kind::OnCpu => "no stack samples; --kind off-cpu may have something",
            Kind::OffCpu | Kind::Wakers => "no blocked threads; --kind on-cpu may have something",
        };
        anyhow::bail!("cannot draw a flame graph: the selection has {what}");
    }
    let mut options = Options::default();
    let (title, colors) = match counted.kind {
        Kind::OnCpu => ("On-CPU time", Palette::Basic(BasicPalette::Hot)),
        Kind::OffCpu => ("Off-CPU time", Palette::Basic(BasicPalette::Blue)),
        Kind::Wakers => (
            "Off-CPU time by waker",
            Palette::Multi(MultiPalette::Wakeup),
        ),
    };
    let stacks = units::counted(counted.stacks(), "stack");
    options.title = format!("{title}: {}", units::duration(counted.total_ns));
    options.subtitle = Some(format!("{}, {stacks}", context.file_name));
    options.colors = colors;
    options.count_name = "ns".to_owned();
    options.min_width = NARROWEST;
    options.deterministic = true;
    let lines: Vec<String> = rows.iter().map(line).collect();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)?;
    Ok(())
}

/// Writes the functions with most time of their own.
///
/// # Errors
/// Those of `out`.
pub fn text(
    out: &mut dyn Write,
    report: &FlameReport<'_>,
    top: Option<usize>,
) -> anyhow::Result<()> {
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
            printable(row.function),
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

fn line(row: &StackRow<'_>) -> String {
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
