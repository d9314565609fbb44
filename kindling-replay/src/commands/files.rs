//! `files`: what was read and written, by path or kind.

use crate::{
    Outcome,
    analysis::files::{self, By, Sort},
    cli::{CommonArgs, Format},
    context::Context,
    model::catalog::Catalog,
    render,
};

/// How many rows the text shows unless told otherwise.
const TEXT_ROWS: usize = 40;

/// What can be typed after `files`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Calls that only name a path (stat, unlink, an open that failed) count with the file of that path.

Examples:
  kindling-replay files web.kndl
  kindling-replay files web.kndl --sort bytes --comm 'postgres*'
  kindling-replay files web.kndl --sort errors --where 'errno == ENOENT'
  kindling-replay files web.kndl --by kind")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// What a row stands for
    #[arg(long, value_enum, default_value_t)]
    pub by: By,
    /// The order of the rows
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
}

/// Runs `files`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let mut context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    context.limit_text(TEXT_ROWS);
    let catalog = Catalog::load(&context);
    let report = files::report(&context, &catalog, args.by, args.sort);
    context.answer("files", &report, render::files::text)
}
