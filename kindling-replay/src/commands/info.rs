//! `info`: what the capture is.

use crate::{
    Outcome, analysis,
    cli::{CommonArgs, Format, Unused},
    context::Context,
    render,
};

/// What can be typed after `info`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kindling-replay info web.kndl
  kindling-replay info web.kndl --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `info`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let why = "info tells of the whole capture; of a part: kindling-replay cut";
    args.common.refuse(&Unused::SELECTION, why)?;
    args.common
        .refuse(&[Unused::Top], "info has no list of rows")?;
    let context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    let report = analysis::info::report(&context);
    context.answer("info", &report, render::info::text)
}
