//! `compact`: the same rows in fewer bytes.

use anyhow::Context as _;

use crate::{
    Outcome,
    cli::{CommonArgs, Format},
    commands::rewritten::{self, Sizes},
    context::Context,
    rewrite,
};

/// What can be typed after `compact`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Small segments are put together and compressed with more effort than a recorder may spend. Every row
is kept; the result is a capture like any other.

Examples:
  kindling-replay compact web.kndl -o web-small.kndl")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `compact`.
///
/// # Errors
/// If the capture cannot be read, a member is damaged, or the result not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    rewritten::needs_output("compact", &args.common)?;
    rewritten::takes_all("compact", &args.common)?;
    let context = Context::open(&args.common, &[Format::Text])?;
    let sizes = Sizes::of_write(&context.target, |out| {
        let compacted = rewrite::compact(&context.pool, &context.capture, out);
        let left_out =
            compacted.with_context(|| format!("cannot compact {}", args.common.file.display()))?;
        left_out
            .warnings()
            .into_iter()
            .for_each(|warning| context.warn(warning));
        Ok(())
    })?;
    sizes.tell(context.capture.size_bytes());
    Ok(context.finish())
}
