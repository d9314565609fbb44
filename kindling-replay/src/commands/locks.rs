//! `locks`: which locks threads waited for, and for whom.

use crate::{
    Outcome, analysis,
    cli::{CommonArgs, Format},
    context::Context,
    model,
    render::{lock_svg, locks},
};

/// How many locks and edges are shown unless told otherwise.
const SHOWN: usize = 20;

/// What can be typed after `locks`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A lock is known by the calls of futex(2) of the threads that wait: its kind by the operation that
they use, its holder by who wakes them. A lock that is taken without a wait is taken unseen.

Confidence: high, the thread called to wake waiters of this lock; medium, it woke the waiter, by a
call that was not seen; low, it was the last that was let in.

Examples:
  kindling-replay locks web.kndl
  kindling-replay locks web.kndl --comm 'worker*' -o locks.svg
  kindling-replay locks web.kndl --format dot | dot -Tpdf -o locks.pdf")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `locks`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let formats = [Format::Text, Format::Json, Format::Dot, Format::Svg];
    let mut context = Context::open(&args.common, &formats)?;
    if context.format != Format::Json {
        context.top.get_or_insert(SHOWN);
    }
    let (catalog, stacks) = model::load(&context);
    let report = analysis::locks::report(&context, &catalog, &stacks);
    match context.format {
        Format::Json => context.write_json("locks", &report)?,
        Format::Dot => context.write(|out| locks::dot(out, &report))?,
        Format::Svg => {
            let title = format!("Waits for locks in {}", context.file_name);
            context.write(|out| lock_svg::svg(out, &report, &title))?;
        }
        _ => context.write(|out| locks::text(out, &report))?,
    }
    Ok(context.finish())
}
