//! `syscalls`: syscalls by name, with counts and times.

use crate::{
    Outcome, analysis,
    cli::{CommonArgs, Format},
    context::Context,
    model::catalog::Catalog,
    render,
};

/// What can be typed after `syscalls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kindling-replay syscalls web.kndl
  kindling-replay syscalls web.kndl --comm redis-server --top 10 --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `syscalls`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    let catalog = Catalog::load(&context);
    let report = analysis::syscalls::report(&context, &catalog)?;
    match context.format {
        Format::Json => context.write_json("syscalls", &report)?,
        _ => context.write(|out| render::syscalls::text(out, &report))?,
    }
    Ok(context.finish())
}
