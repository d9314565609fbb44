//! `processes`: who started whom.

use crate::{
    Outcome, analysis,
    cli::{CommonArgs, Format},
    context::Context,
    model::catalog::Catalog,
    render,
};

/// What can be typed after `processes`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kindling-replay processes web.kndl
  kindling-replay processes web.kndl --where 'process.exe glob \"*/gcc\"' --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `processes`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    let catalog = Catalog::load(&context);
    let report = analysis::processes::report(&context, &catalog);
    context.answer("processes", &report, render::processes::text)
}
