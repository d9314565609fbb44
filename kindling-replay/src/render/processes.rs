//! `processes` for reading.

use std::io::Write;

use crate::{
    analysis::processes::ProcessRow,
    render::{
        argument,
        json::List,
        table::{Align, TextTable, printable},
        units,
    },
};

/// The most characters of a command line that are shown.
const SHOWN_COMMAND: usize = 100;

/// Writes the tree as a table.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, report: &List<ProcessRow>) -> anyhow::Result<()> {
    let mut columns = vec![
        ("pid", Align::Right),
        ("start", Align::Right),
        ("lifetime", Align::Right),
    ];
    for name in ["threads", "running", "runnable", "uid"] {
        columns.push((name, Align::Right));
    }
    for name in ["container", "ended", "command"] {
        columns.push((name, Align::Left));
    }
    let mut table = TextTable::new(&columns);
    // For each level above a row, whether more children of that level follow.
    let mut open: Vec<bool> = Vec::new();
    for row in &report.rows {
        open.truncate(row.depth);
        open.resize(row.depth, false);
        let lifetime = row.exit_ns.map(|exit| exit.saturating_sub(row.start_ns));
        table.row([
            row.pid.to_string(),
            if row.start_ns < 0 {
                "before".into()
            } else {
                units::offset(row.start_ns)
            },
            lifetime.map_or(String::new(), units::duration),
            units::count(row.threads),
            units::duration(row.running_ns),
            units::duration(row.runnable_ns),
            row.uid.map_or(String::new(), |uid| uid.to_string()),
            row.container.as_deref().map_or(String::new(), short_id),
            ended(row),
            format!("{}{}", branch(&open, row), command(row)),
        ]);
        open.push(!row.last_child);
    }
    table.without_empty_columns().write(out)?;
    writeln!(out)?;
    match report.hidden() {
        0 => writeln!(out, "{}", units::counted(report.total, "process"))?,
        hidden => writeln!(
            out,
            "{}, {hidden} of them not shown",
            units::counted(report.total, "process")
        )?,
    }
    Ok(())
}

/// The lines of the tree before a command.
fn branch(open: &[bool], row: &ProcessRow) -> String {
    if row.depth == 0 {
        return String::new();
    }
    // Roots have no lines between them.
    let above = open.get(1..row.depth).unwrap_or_default();
    let mut text: String = above
        .iter()
        .map(|more| if *more { "│ " } else { "  " })
        .collect();
    text.push_str(if row.last_child { "└ " } else { "├ " });
    text
}

fn ended(row: &ProcessRow) -> String {
    match (row.exit_ns, row.exit_code, row.exit_signal) {
        (None, ..) => "runs".into(),
        (_, _, Some(signal)) => format!("killed by {}", argument::signal(signal)),
        (_, Some(code), _) => format!("exit {code}"),
        (Some(_), None, None) => "ended".into(),
    }
}

fn command(row: &ProcessRow) -> String {
    let command = match row.argv.is_empty() {
        true => format!("[{}]", row.comm),
        false => row.argv.join(" "),
    };
    let safe = printable(&command);
    match safe.char_indices().nth(SHOWN_COMMAND) {
        Some((end, _)) => format!("{}…", safe.get(..end).unwrap_or_default()),
        None => safe,
    }
}

/// The first characters of an id, as container tools show it.
fn short_id(id: &str) -> String {
    printable(&id.chars().take(12).collect::<String>())
}
