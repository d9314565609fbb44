//! `salvage`: a finished capture of what is intact in an unfinished or damaged one.

use anyhow::Context as _;
use kindling_format::{Lost, Salvage};

use crate::{
    Outcome,
    cli::CommonArgs,
    commands::rewritten,
    output::Target,
    render::{table::printable, units},
};

/// What can be typed after `salvage`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What was kept and lost is told on standard error. Exit code 3 if anything was lost.

Examples:
  kindling-replay salvage killed.kndl -o fixed.kndl")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `salvage`.
///
/// # Errors
/// If nothing of the file is a capture, or the new one cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    rewritten::takes_all("salvage", &args.common)?;
    let file = &args.common.file;
    let target = Target::new(args.common.output.output.as_deref(), file)?;
    let cannot = || format!("cannot salvage {}", file.display());
    let file_bytes = kindling_format::mmap::open(file).with_context(cannot)?;
    let mut report = Salvage::default();
    target.write(|out| {
        let (_, salvaged) =
            kindling_format::salvage(&file_bytes.bytes, out).with_context(cannot)?;
        report = salvaged;
        Ok(())
    })?;
    let rows: u64 = report.rows.values().sum();
    let (members, rows) = (units::count(report.members), units::count(rows));
    eprintln!("kindling-replay: kept {members} members with {rows} rows");
    for lost in &report.lost {
        eprintln!("kindling-replay: lost {}", describe(lost));
    }
    Ok(match report.lost.is_empty() {
        true => Outcome::Done,
        false => Outcome::Incomplete,
    })
}

fn describe(lost: &Lost) -> String {
    let name = lost
        .name
        .as_deref()
        .unwrap_or("a part that has no name left");
    let mut text = format!(
        "{} at byte {}, {} bytes",
        printable(name),
        lost.at,
        lost.size_bytes
    );
    if let Some(rows) = lost.rows {
        text += &format!(", {} rows", units::count(rows));
    }
    if let Some((start, end)) = lost.span {
        let length = units::duration(end.saturating_sub(start));
        text += &format!(" over {length} from {start} ns");
    }
    format!("{text}: {}", printable(&lost.why))
}
