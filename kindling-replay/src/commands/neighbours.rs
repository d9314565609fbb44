//! `neighbours`: who had the CPUs while the selected threads waited for one.

use crate::{
    Outcome, analysis,
    cli::{CommonArgs, Format},
    context::Context,
    model::catalog::Catalog,
    render,
};

/// How many rows a table of the text has unless told otherwise.
const TEXT_ROWS: usize = 15;

/// What can be typed after `neighbours`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A thread waits for the CPU that was taken from it, or else for the one to which it came. Each moment of
that is charged to who had the CPU then. Threads outside of the recording are known where they take turns
with recorded ones; record with --all to know all of them. Time in interrupts counts for whom they
interrupted.

Examples:
  kindling-replay neighbours web.kndl --comm 'nginx*'
  kindling-replay neighbours host.kndl --container 3f2a --from 1s --to 2s")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `neighbours`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let mut context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    if context.format == Format::Text {
        context.top.get_or_insert(TEXT_ROWS);
    }
    let catalog = Catalog::load(&context);
    let report = analysis::neighbours::report(&context, &catalog);
    match context.format {
        Format::Json => context.write_json("neighbours", &report)?,
        _ => context.write(|out| render::neighbours::text(out, &report))?,
    }
    Ok(context.finish())
}
