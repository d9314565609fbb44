//! `cpus`: who ran on which CPU, and how long threads waited for one.

use crate::{
    Outcome, analysis,
    cli::{CommonArgs, Format},
    context::Context,
    model::catalog::Catalog,
    render,
};

/// What can be typed after `cpus`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Only switches that recorded threads take part in are in a capture. What other threads did is known where
they take turns with recorded ones, and unknown elsewhere; record with --all to know all of them. The
options that select threads choose whose waits are counted; the CPUs' own times are of all.

Examples:
  kindling-replay cpus web.kndl
  kindling-replay cpus web.kndl --from 1s --to 1.2s -o cpus.svg")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `cpus`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let context = Context::open(&args.common, &[Format::Text, Format::Json, Format::Svg])?;
    let catalog = Catalog::load(&context);
    let report = analysis::cpus::report(&context, &catalog);
    match context.format {
        Format::Json => context.write_json("cpus", &report)?,
        Format::Svg => {
            let title = context.file_name.clone();
            context.write(|out| render::cpus::svg(out, &report.picture, &title))?;
        }
        _ => context.write(|out| render::cpus::text(out, &report))?,
    }
    Ok(context.finish())
}
