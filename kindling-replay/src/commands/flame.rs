//! `flame`: where time went, by call stack.

use crate::{
    Outcome,
    analysis::{self, flame::Kind},
    cli::{CommonArgs, Format},
    context::Context,
    model,
    render::flame,
};

/// What can be typed after `flame`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kindling-replay flame web.kndl -o web.svg
  kindling-replay flame web.kndl --kind off-cpu --comm 'redis*' -o redis.svg
  kindling-replay flame web.kndl --format text --top 20
  kindling-replay flame web.kndl --format folded | grep epoll")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// Which time to show
    #[arg(long, value_enum, default_value_t = Kind::OnCpu)]
    pub kind: Kind,
    /// The same as --kind off-cpu
    #[arg(long, conflicts_with = "kind")]
    pub off_cpu: bool,
}

/// Runs `flame`.
///
/// # Errors
/// If the capture cannot be read, the answer not be written, or there is nothing to draw.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let formats = [Format::Svg, Format::Folded, Format::Text, Format::Json];
    let context = Context::open(&args.common, &formats)?;
    let (catalog, stacks) = model::load(&context);
    let kind = if args.off_cpu {
        Kind::OffCpu
    } else {
        args.kind
    };
    let counted = analysis::flame::count(&context, &catalog, &stacks, kind);
    let report = || counted.report(&context);
    match context.format {
        Format::Json => context.write_json("flame", &report())?,
        Format::Folded => context.write(|out| flame::folded(out, &context, &counted))?,
        Format::Text => context.write(|out| flame::text(out, &report(), context.top))?,
        _ => context.write(|out| flame::svg(out, &context, &counted))?,
    }
    Ok(context.finish())
}
