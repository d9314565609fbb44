//! `merge`: several captures as one.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::{
    Outcome,
    cli::{CommonArgs, UsageError},
    commands::rewritten::{self, Sizes},
    context::{open_capture, worker_threads},
    output::Target,
    render::table::printable,
    rewrite::{self, Input},
};

/// What can be typed after `merge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Parts of one recording are put together as if it had never been divided. Recordings of one host come one
after another; the time between them is unknown. Those of several hosts are aligned by wall time, and
then so that nothing is received before it was sent; the process ids of the second host are its own
plus 4194304, and so on (docs/FORMAT.md).

Examples:
  kindling-replay merge web.000000.kndl web.000001.kndl -o web.kndl
  kindling-replay merge client-host.kndl server-host.kndl -o both.kndl")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// More captures
    #[arg(value_name = "FILE", required = true)]
    pub others: Vec<PathBuf>,
}

/// Runs `merge`.
///
/// # Errors
/// If a capture cannot be read, they do not fit together, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    rewritten::needs_output("merge", &args.common)?;
    rewritten::takes_all("merge", &args.common)?;
    let paths: Vec<&PathBuf> = [&args.common.file]
        .into_iter()
        .chain(&args.others)
        .collect();
    let output = args.common.output.output.as_deref();
    let mut inputs = Vec::new();
    let mut target = Target::Stdout;
    for path in &paths {
        target = Target::new(output, path)?;
        if paths.iter().filter(|other| other == &path).count() > 1 {
            return Err(UsageError(format!("{} is named twice", path.display())).into());
        }
        inputs.push(Input {
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            capture: open_capture(path)?,
        });
    }
    let before_bytes = inputs.iter().map(|input| input.capture.size_bytes()).sum();
    let is_finished = inputs.iter().all(|input| input.capture.summary().is_some());
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let history = format!("merge of {}", names.join(", "));
    let pool = worker_threads(&args.common)?;
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    let sizes = Sizes::of_write(&target, |out| {
        let merged = rewrite::merge(&pool, inputs, history, out);
        let merged = merged.context("cannot merge")?;
        (notes, warnings) = (merged.notes, merged.left_out.warnings());
        Ok(())
    })?;
    for note in notes {
        eprintln!("kindling-replay: {}", printable(&note));
    }
    for warning in &warnings {
        eprintln!("kindling-replay: warning: {warning}");
    }
    sizes.tell(before_bytes);
    Ok(if is_finished && warnings.is_empty() {
        Outcome::Done
    } else {
        Outcome::Incomplete
    })
}
