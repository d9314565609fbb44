//! `threads`: what every thread did with its time.

use crate::{
    Outcome, analysis,
    cli::{CommonArgs, Format},
    context::Context,
    model, render,
};

/// What can be typed after `threads`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each thread's time adds up to its lifetime: running, runnable (waiting for a CPU), blocked by
reason, and unknown where the capture cannot tell.

Examples:
  kindling-replay threads web.kndl
  kindling-replay threads web.kndl --comm 'nginx*' -o nginx.svg
  kindling-replay threads web.kndl --from 1s --to 1.2s --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `threads`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let context = Context::open(&args.common, &[Format::Text, Format::Json, Format::Svg])?;
    let (catalog, stacks) = model::load(&context);
    if context.format == Format::Svg {
        let report = analysis::timeline::report(&context, &catalog, &stacks);
        context.write(|out| render::timeline::svg(out, &report))?;
        return Ok(context.finish());
    }
    let report = analysis::threads::report(&context, &catalog, &stacks);
    context.answer("threads", &report, render::threads::text)
}
