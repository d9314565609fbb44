//! `thread TID`: the story of one thread.

use anyhow::bail;

use crate::{
    Outcome,
    analysis::{self, rpc_call::Calls, story},
    cli::{CommonArgs, Format, Unused, UsageError},
    context::Context,
    model::{
        self,
        catalog::{Catalog, ThreadLife},
        stack::Stacks,
    },
    render,
};

/// How many steps the text shows unless told otherwise.
const TEXT_ROWS: usize = 100;

/// What can be typed after `thread`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Repeats in a row are one step, so that an event loop takes a few lines; --from and --to look closer.
With --where only the calls for which it holds are told.

Examples:
  kindling-replay thread web.kndl 4711
  kindling-replay thread web.kndl busiest
  kindling-replay thread web.kndl 4711 --from 1.5s --to 1.52s
  kindling-replay thread web.kndl 4711 --where 'dur > 1ms'")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
    /// The thread; `busiest` for the one that was longest on a CPU
    #[arg(value_name = "TID", value_parser = which)]
    pub thread: Which,
}

/// Which thread is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one with this tid.
    Tid(u32),
    /// The one that was longest on a CPU.
    Busiest,
}

fn which(text: &str) -> Result<Which, String> {
    match text {
        "busiest" => Ok(Which::Busiest),
        tid => tid
            .parse()
            .map(Which::Tid)
            .map_err(|_| "expected a tid, or busiest".to_owned()),
    }
}

/// Runs `thread`.
///
/// # Errors
/// If the capture cannot be read, has no such thread, or the answer cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    if let Which::Tid(_) = args.thread {
        let why = "the thread is named already";
        args.common.refuse(&[Unused::Threads], why)?;
    }
    let mut context = Context::open(&args.common, &[Format::Text, Format::Json])?;
    context.limit_text(TEXT_ROWS);
    let (catalog, stacks) = model::load(&context);
    let tid = match args.thread {
        Which::Tid(tid) => tid,
        Which::Busiest => busiest(&context, &catalog, &stacks)?,
    };
    let life = find(&context, &catalog, tid)?;
    let calls = Calls::load(&context, &catalog, |call| call.involves(tid));
    let Some(report) = story::report(&context, &catalog, &stacks, &calls, life) else {
        bail!("thread {tid} was not recorded");
    };
    context.answer("thread", &report, render::story::text)
}

fn busiest(context: &Context, catalog: &Catalog, stacks: &Stacks) -> anyhow::Result<u32> {
    let threads = analysis::threads::report(context, catalog, stacks);
    match threads.rows.first() {
        Some(thread) => Ok(thread.tid),
        None => bail!(
            "{} has no recorded thread in this window",
            context.file_name
        ),
    }
}

fn find<'a>(context: &Context, catalog: &'a Catalog, tid: u32) -> anyhow::Result<&'a ThreadLife> {
    let window = context.selection.window;
    let lives = catalog.threads.range((tid, i64::MIN)..=(tid, i64::MAX));
    let lives = lives.map(|(_, life)| life).filter(|life| {
        let end = life.exit_ts.unwrap_or(i64::MAX);
        life.target && window.overlaps(life.start_ts, end)
    });
    match lives.collect::<Vec<_>>().as_slice() {
        [life] => Ok(life),
        [] => bail!(
            "{} has no recorded thread {tid} in this window: `kindling-replay threads` lists them",
            context.file_name
        ),
        several => Err(UsageError(format!(
            "{} threads had the tid {tid}, one after another: choose one with --from and --to",
            several.len()
        ))
        .into()),
    }
}
