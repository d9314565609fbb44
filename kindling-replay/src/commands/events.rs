//! `events`: everything in the order of time.

use std::{
    collections::BTreeSet,
    io::Write,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::{
    Outcome,
    analysis::{self, events::Source},
    cli::{CommonArgs, Format},
    context::Context,
    model::catalog::Catalog,
    render::{
        events::EventWriter,
        json::{self, RowsSoFar},
    },
};

/// What can be typed after `events`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kindling-replay events web.kndl --comm nginx --top 100
  kindling-replay events web.kndl --from 1.5s --to 1.51s --tables syscalls,switches,wakeups
  kindling-replay events web.kndl --pid 4711 --format json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// Which events to show [default: syscalls and io_uring, or those that --where asks for]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub tables: Vec<Source>,
}

/// Runs `events`.
///
/// # Errors
/// If the capture cannot be read or the answer not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    let catalog = Catalog::load(&context);
    let sources = match args.tables.as_slice() {
        [] => Source::default_for(context.selection.filter.as_ref()),
        tables => tables.iter().copied().collect(),
    };
    context.write(|out| match context.format {
        Format::Json => write_json(out, &context, &catalog, &sources),
        _ => write_text(out, &context, &catalog, &sources),
    })?;
    Ok(context.finish())
}

fn write_text(
    out: &mut (dyn Write + Send),
    context: &Context,
    catalog: &Catalog,
    sources: &BTreeSet<Source>,
) -> anyhow::Result<()> {
    let writer = EventWriter::new(context, catalog);
    let mut left = context.top.unwrap_or(usize::MAX);
    let line = |event: &_| writer.line(event);
    let end = analysis::events::stream(context, catalog, sources, line, |line| {
        if left == 0 {
            return ControlFlow::Break(Ok(()));
        }
        left -= 1;
        match writeln!(out, "{line}") {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    });
    Ok(end.break_value().unwrap_or(Ok(()))?)
}

fn write_json(
    out: &mut (dyn Write + Send),
    context: &Context,
    catalog: &Catalog,
    sources: &BTreeSet<Source>,
) -> anyhow::Result<()> {
    let writer = EventWriter::new(context, catalog);
    // Rows behind the last that is shown are counted and not put into words.
    let is_full = AtomicBool::new(false);
    let row =
        |event: &_| (!is_full.load(Relaxed)).then(|| serde_json::to_string(&writer.row(event)));
    json::streamed(out, context, "events", |rows: &mut RowsSoFar<'_>| {
        let end = analysis::events::stream(context, catalog, sources, row, |row| {
            match rows.row(context.top, row.transpose().map(Option::unwrap_or_default)) {
                Ok(full) => {
                    is_full.store(full, Relaxed);
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        });
        end.break_value().map_or(Ok(()), Err)
    })
}
