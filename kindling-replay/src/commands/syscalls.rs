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
  kindling-replay syscalls web.kndl --histogram --where 'syscall.name == fsync'
  kindling-replay syscalls web.kndl --comm redis-server --top 10 --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// Show how the calls of each kind are distributed over time, in powers of two
    #[arg(long)]
    pub histogram: bool,
}

/// Runs `syscalls`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    let catalog = Catalog::load(&context);
    let report = analysis::syscalls::report(&context, &catalog);
    context.answer("syscalls", &report, |out, report| {
        render::syscalls::text(out, report, args.histogram)
    })
}
