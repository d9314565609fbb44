//! `cut`: a part of a capture as a capture of its own.

use anyhow::Context as _;

use crate::{
    Outcome,
    cli::{CommonArgs, Format, Unused},
    commands::rewritten::{self, Sizes},
    context::Context,
    rewrite,
};

/// What can be typed after `cut`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The selected time and threads are kept, with all that their rows refer to: files, processes, stacks,
symbols, clocks, and the state in which each thread enters the window: the capture that a recorder would
have written for this window and these threads. What only other threads saw is not in it.

Examples:
  kindling-replay cut web.kndl --from 1.5s --to 2s -o moment.kndl
  kindling-replay cut web.kndl --pid 4711 -o one.kndl")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `cut`.
///
/// # Errors
/// If the capture cannot be read, a member is damaged, or the result not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    rewritten::needs_output("cut", &args.common)?;
    args.common
        .refuse(&[Unused::Format, Unused::Top], "cut writes a capture")?;
    let context = Context::open(&args.common, &[Format::Text])?;
    let history = format!(
        "cut {} of {}",
        context.selection.options(),
        context.file_name
    );
    let sizes = Sizes::of_write(&context.target, |out| {
        rewrite::cut(&context, history, out)
            .with_context(|| format!("cannot cut {}", args.common.file.display()))
    })?;
    sizes.tell(context.capture.size_bytes());
    Ok(context.finish())
}
