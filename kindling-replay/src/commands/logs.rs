//! `logs`: what programs logged, with the thread and the request of each line.

use crate::{
    Outcome,
    analysis::{logs, serving::Serving},
    cli::{CommonArgs, Format},
    context::Context,
    model::catalog::Catalog,
    render,
};

/// What can be typed after `logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Lines are what was written to terminals, standard output and error, log files and the system's log, as
far as the recorder kept it (--payload-bytes). The request is the one that the thread was serving; a
question mark says that it had several in hand.

Examples:
  kindling-replay logs web.kndl
  kindling-replay logs web.kndl --comm nginx --from 1s --to 2s
  kindling-replay logs web.kndl --where 'payload.data contains error' --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `logs`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    let catalog = Catalog::load(&context);
    let serving = Serving::load(&context, &catalog);
    let report = logs::report(&context, &catalog, &serving);
    context.answer("logs", &report, render::logs::text)
}
