//! `check`: whether every byte and row of the capture is sound.

use crate::{
    Outcome, analysis,
    cli::{CommonArgs, Format, Unused},
    context::Context,
    render,
};

/// What can be typed after `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 fine; 3 unfinished, or events were lost while recording; 1 damaged

Examples:
  kindling-replay check web.kndl
  kindling-replay check web.kndl --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `check`.
///
/// # Errors
/// If the capture is damaged, cannot be read, or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let why = "check verifies the whole capture";
    args.common.refuse(&Unused::SELECTION, why)?;
    args.common
        .refuse(&[Unused::Top], "check tells every problem")?;
    let context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    let report = analysis::check::report(&context);
    match context.format {
        Format::Json => context.write_json("check", &report)?,
        _ => context.write(|out| render::check::text(out, &report))?,
    }
    if !report.problems.is_empty() {
        let file = args.common.file.display();
        anyhow::bail!(
            "{file} is damaged; what is intact can be kept: \
             kindling-replay salvage {file} -o FIXED.kndl"
        );
    }
    Ok(context.finish())
}
